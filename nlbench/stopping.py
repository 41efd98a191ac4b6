"""What ends a run before its end: signals, which let it save, and a learner that calls `os._exit`, which is told."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn

from nlbench.errors import NlbenchError

SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

PATIENCE: Final = 10.0
"""Seconds after which a further signal ends the run at once, without saving: a batch may never end."""


class Stopping:
    """Within `with`, signals are noted instead of obeyed, so that a batch is finished and saved; those that were ignored before,
    as SIGHUP under nohup, still are. In another thread than the main one nothing changes.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        """The first that came."""
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._noted)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _noted(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self._since = number, monotonic()
        elif monotonic() - self._since > PATIENCE:
            raise KeyboardInterrupt


@contextmanager
def exits_told() -> Iterator[None]:
    """Within it, a call of `os._exit` in this process raises NlbenchError: the process would end with the code that it names,
    0 included, and without a record. Processes that were forked end as they ask.

    Code in C that ends the process is beyond this: nothing in the process sees it.
    """
    ended, process = os._exit, os.getpid()

    def told(code: int) -> NoReturn:
        if os.getpid() != process:
            ended(code)
        raise NlbenchError(f"os._exit({code}) was called while a learner ran.", "No record was written. Mend the learner.")

    os._exit = told  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = ended
