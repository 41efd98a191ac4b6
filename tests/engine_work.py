"""Work for engines: plain and quick, or ending its worker."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from nlbench.errors import NlbenchError


@dataclass(frozen=True)
class Square:
    number: int

    def perform(self) -> int:
        return self.number**2


@dataclass(frozen=True)
class Raising:
    kind: str

    def perform(self) -> None:
        if self.kind == "told":
            raise NlbenchError("the rule is broken.", "Mend it.")
        if self.kind == "interrupted":
            raise KeyboardInterrupt
        raise ZeroDivisionError("by\nzero")


@dataclass(frozen=True)
class Dying:
    """Ends its worker the first `times` times that it is performed; `folder` keeps count."""

    folder: Path
    times: int

    def perform(self) -> int:
        done = len(list(self.folder.iterdir()))
        if done < self.times:
            (self.folder / str(done)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()


@dataclass(frozen=True)
class Sleeping:
    """Sleeps in naps, between which a cluster interrupts."""

    seconds: float

    def perform(self) -> None:
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            time.sleep(0.01)


@dataclass(frozen=True)
class Whoami:
    """Returns its process and the number of times it was asked there, which a worker that is kept remembers."""

    def perform(self) -> tuple[int, int, str]:
        globals()["ASKED"] = globals().get("ASKED", 0) + 1
        return os.getpid(), globals()["ASKED"], os.environ["OMP_NUM_THREADS"]


def _unread() -> None:
    raise ValueError("not here")


class Unreadable:
    """Can be sent and not be read."""

    def __reduce__(self) -> tuple[object, ...]:
        return _unread, ()

    def perform(self) -> None: ...
