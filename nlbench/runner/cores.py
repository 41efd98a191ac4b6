"""A run's share of the cores of its machine."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from nlbench import cache

_PLACES = "running"
"""The folder in the cache with one lock a run that is going on."""


@contextmanager
def share(asked: int | None = None) -> Iterator[int]:
    """Give the number of threads a run takes, and count it among those that are going on while this lasts.

    It is what is asked for, or else what OMP_NUM_THREADS says, or else the cores that the process may use (its affinity and its
    container's limit), shared with the runs of this user that go on already: a second one takes half, a third one a third.
    """
    with ExitStack() as stack:
        said = asked or (torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else None)
        others = _take_place(stack, counted=said is None)
        yield said or max(1, _cores() // (1 + others))


def _cores() -> int:
    """What the process may use, or less where torch was told so."""
    import joblib  # many modules, which a run whose threads are said does not need

    return min(torch.get_num_threads(), int(joblib.cpu_count()))


def _take_place(stack: ExitStack, *, counted: bool) -> int:
    """Take the first free place and return how many are taken by others, of those before it alone unless they are `counted`;
    without a cache folder nobody is known of.
    """
    folder = cache.folder()
    if folder is None:
        return 0
    others, own = 0, False
    with suppress(OSError, NotImplementedError):
        (folder / _PLACES).mkdir(parents=True, exist_ok=True)
        for place in _known(folder / _PLACES) if counted else _places(folder / _PLACES):
            lock = FileLock(place)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                others += 1
                continue
            if own:
                lock.release()
            else:
                own = True
                stack.callback(lock.release)
                if not counted:
                    break
    return others


def _places(folder: Path) -> Iterator[Path]:
    """Yield places without end."""
    return (folder / f"{number}.lock" for number in itertools.count())


def _known(folder: Path) -> Iterator[Path]:
    """Yield the places there are, and one more."""
    return itertools.islice(_places(folder), sum(1 for _ in folder.glob("*.lock")) + 1)
