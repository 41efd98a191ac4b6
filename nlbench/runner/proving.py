"""Whether a learner made from a checkpoint is the learner that was saved."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from torch import Tensor

from nlbench.batch import Learner
from nlbench.learners.adapter import EachSeed
from nlbench.learners.external import External
from nlbench.state import collect, first_difference, same
from nlbench.streams.stream import Stream

PREDICTED: Final = 256
"""Test samples whose predictions are compared, at most."""

_WRAPPERS: Final = re.compile(r"^(\d+/)?learner/")


def difference(learner: Learner, fresh: Learner, saved: Mapping[str, Tensor], stream: Stream) -> str | None:
    """Return in what a freshly built learner differs from one whose state it is given: an attribute, bit by bit, or predictions.

    Of somebody else's learner all that it holds is compared, also what a `state_dict` of its own leaves out, but for gradients:
    they are made anew by every step. Raises `UnlikeError` or `NlbenchError` where the fresh one cannot take the state over.
    """
    fresh.load_state_dict(saved)
    found = first_difference(learner.state_dict(), fresh.state_dict())
    if found is not None:
        return _WRAPPERS.sub("", found)
    for own, again in zip(_others(learner), _others(fresh), strict=True):
        if found := first_difference(*(collect(each, gradients=False) for each in (own, again))):
            return found
    inputs, _ = next(iter(stream.test(1).blocks(PREDICTED)))
    task = 1 if stream.scenario == "task-il" else None
    return None if same(learner.predict(inputs, task), fresh.predict(inputs, task)) else "its predictions"


@contextmanager
def let_go() -> Iterator[None]:
    """Free at the end what was made meanwhile and nothing else holds, though its parts hold each other, as a learner's do: it
    would lie beside the next. What was there before is not looked at, which would take longer than a small run's proof; but what
    was freed of it is no more of this process, neither while this lasts nor after.
    """
    _give_back()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        _give_back()


def _give_back() -> None:
    """Let the system have what the C library keeps of freed memory, up to 64 MiB and holes; other than glibc has no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _others(learner: Learner) -> list[Learner]:
    """Return the learners of somebody else's within one: itself, or one a seed."""
    inner = learner.inner if isinstance(learner, EachSeed) else [learner]
    return [each.learner for each in inner if isinstance(each, External)]
