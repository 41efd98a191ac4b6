"""A worker process: performs what comes in, one piece after the other, and keeps what it imported. Started by `local`.

A message is a pickle: in, (number, work); out, `Ended`, after a first one that says it is ready.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any, BinaryIO

from nlbench.errors import remarks_told
from nlbench.sweep.engines import READY, performed


class _Signals:
    """An interrupt stops the work that is performed, and nothing where there is none: whoever started the worker ends it."""

    busy = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.busy:
            raise KeyboardInterrupt


def serve() -> None:
    """Perform work from standard input until it ends. What work prints goes to standard error, and it reads nothing."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    signals = _Signals()
    signal.signal(signal.SIGINT, signals)
    sys.argv = ["nlbench"]
    from nlbench.launching import running_half
    from nlbench.sources import keep_last

    running_half()
    keep_last()
    # whoever started it may have been killed: what it did is recorded, and nobody is to be told
    with suppress(BrokenPipeError), outgoing, remarks_told(lambda remark: sys.stderr.write(f"nlbench: {remark}\n")):
        _put(outgoing, READY)
        while (message := _next(incoming)) is not None:
            signals.busy = True
            ended = performed(*message)
            signals.busy = False
            _put(outgoing, ended)


def _put(outgoing: BinaryIO, message: Any) -> None:
    pickle.dump(message, outgoing, pickle.HIGHEST_PROTOCOL)
    outgoing.flush()


def _next(incoming: BinaryIO) -> Any:
    try:
        return pickle.load(incoming)
    except EOFError:
        return None
