"""What runs work: `Here`, in this process; workers of this machine (`local`) and of a cluster (`on_ray`) in modules of their own.

An engine runs anything that can be pickled and performed: a cell of a sweep, a trial of a search. It says how each piece ended;
whether to try again what was lost is decided once, by `drive`.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self, TypeVar

from nlbench.errors import InterruptedRunError, NlbenchError
from nlbench.stopping import Stopping

TRIES: Final = 3
"""How often work is begun at most whose worker is lost."""

READY: Final = "ready"
"""A worker's first message."""

LOOK: Final = 0.25
"""Seconds after which an engine is left for a look at signals."""


class Work(Protocol):
    """Plain values, and what is made of them in a worker."""

    def perform(self) -> Any:
        """Return what comes of it. Raises what it wants: the engine tells."""
        ...


@dataclass(frozen=True)
class Ended:
    """How a piece of work ended.

    number   as it was submitted
    how      done; failed: it raised; interrupted: a signal stopped it; lost: its worker ended
    value    what `perform` returned, of what is done
    error    in one line, of what is not
    seconds  that it took in its worker
    """

    number: int
    how: Literal["done", "failed", "interrupted", "lost"]
    value: Any = None
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Needs:
    """What one piece of work takes of a machine.

    threads  None: this machine's cores, shared among its workers; of a cluster one
    memory   GiB, of a GPU where it runs on one; None: a GPU has one worker, and memory is not looked at
    gpu      whether it runs on one
    """

    threads: int | None = None
    memory: float | None = None
    gpu: bool = False


class Engine(ABC):
    """Runs `slots` pieces of work at once, each on `threads` threads. Closed by its `with`."""

    slots: int = 1
    threads: int | None = None

    def start(self) -> None:  # noqa: B027 - nothing, where there is nothing to warm
        """Get ready to run, without waiting for it; may be called again."""

    @abstractmethod
    def submit(self, number: int, work: Work) -> None:
        """Begin a piece of work; at most `slots` are on the way at once."""

    @abstractmethod
    def ended(self, timeout: float) -> list[Ended]:
        """Return what ended, waiting for the first for at most so many seconds."""

    def interrupt(self) -> None:  # noqa: B027
        """Have what is running save and stop."""

    def close(self) -> None:  # noqa: B027
        """Let go of all workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Here(Engine):
    """This very process: one piece after the other, no worker to warm. What was given as an object, as in a notebook, runs."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads
        self._waiting: list[tuple[int, Work]] = []

    def submit(self, number: int, work: Work) -> None:
        self._waiting.append((number, work))

    def ended(self, timeout: float) -> list[Ended]:
        return [performed(*self._waiting.pop(0))] if self._waiting else []


def performed(number: int, work: Work) -> Ended:
    """Perform work, and return how that ended, whatever it raised."""
    clock, caught, value = perf_counter(), _Caught(), None
    with caught:
        value = work.perform()
    seconds = perf_counter() - clock
    if caught.error is None:
        return Ended(number, "done", value, seconds=seconds)
    stopped = isinstance(caught.error, KeyboardInterrupt | InterruptedRunError)
    return Ended(number, "interrupted" if stopped else "failed", error=_told(caught.error), seconds=seconds)


@dataclass(frozen=True)
class Packed:
    """Work as it is sent: what cannot be unpacked in a worker has failed there, as if it had raised."""

    content: bytes

    @classmethod
    def of(cls, work: Work) -> Packed:
        """Return work, packed."""
        return cls(pickle.dumps(work, pickle.HIGHEST_PROTOCOL))

    def perform(self) -> Any:
        return pickle.loads(self.content).perform()


def import_path() -> str:
    """Return where this process looks for modules, as PYTHONPATH of a worker that is to find the same."""
    return os.pathsep.join(place or os.getcwd() for place in sys.path)


def unasked(ended: Ended) -> Ended:
    """Return how work ended that nobody here stopped: a worker that got a signal of its own is lost, the others go on."""
    return replace(ended, how="lost") if ended.how == "interrupted" else ended


class _Caught:
    """Keeps what is raised within it: one cell's defect is no other's."""

    error: BaseException | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        self.error = error
        return isinstance(error, Exception | KeyboardInterrupt)


def _told(error: BaseException) -> str:
    if isinstance(error, NlbenchError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({place.filename}, line {place.lineno})"


W = TypeVar("W", bound=Work)


def drive(engine: Engine, works: Iterable[W], stopping: Stopping) -> Iterator[tuple[W, Ended]]:
    """Yield each piece of work with how it ended, in that order. The next piece is asked for when a slot is free, so that it may
    depend on what ended before.

    Work whose worker was lost is begun again, `TRIES` times in all. When a signal came, or work was interrupted, no more is
    begun, and what is running is interrupted and awaited.
    """
    rest, numbered = iter(works), 0
    running: dict[int, tuple[W, int]] = {}
    halted = exhausted = False
    while True:
        if not halted and stopping.signal is not None:
            halted = True
            engine.interrupt()
        while not halted and not exhausted and len(running) < engine.slots:
            begun = next(rest, None)
            exhausted = begun is None
            if begun is not None:
                running[numbered] = begun, 1
                engine.submit(numbered, begun)
                numbered += 1
        if not running:
            return
        for end in engine.ended(LOOK):
            work, tries = running.pop(end.number)
            if end.how == "lost" and tries < TRIES and not halted:
                running[end.number] = work, tries + 1
                engine.submit(end.number, work)
                continue
            if end.how == "interrupted" and not halted:
                halted = True
                engine.interrupt()
            yield work, end
