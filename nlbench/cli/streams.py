"""What the command line writes to: whatever the encoding, all that is written can be; a remark is one line."""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn

from nlbench.errors import remarks_told

PLAIN: Final = "nlbench.plain"
_SIGNS: Final = {
    "…": "...",
    "–": "-",
    "—": "-",
    "−": "-",
    "±": "+/-",
    "×": "x",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "·": "-",
    "•": "*",
}


def spelled(error: UnicodeError) -> tuple[str, int]:
    """Return what an encoding lacks in ASCII, and where to go on: an error handler."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_ascii, error.object[error.start : error.end])), error.end


def _ascii(sign: str) -> str:
    known = _SIGNS.get(sign)
    if known is not None:
        return known
    name = unicodedata.name(sign, "")
    if name.startswith("BOX DRAWINGS"):
        across, down = (
            any(word in name for word in words) for words in (("HORIZONTAL", "LEFT", "RIGHT"), ("VERTICAL", "UP", "DOWN"))
        )
        return "-" if across and not down else "|" if down and not across else "+"
    return unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode() or "?"


codecs.register_error(PLAIN, spelled)


class _Lasting(io.TextIOWrapper):
    """A stream that a learner cannot take from who runs it: closing it writes what is due, and no more. Once nobody reads it any
    more, as after `| head`, this process ends by the signal that says so, which no other broken pipe or connection sends.
    """

    def write(self, text: str) -> int:
        with _ending():
            return super().write(text)

    def flush(self) -> None:
        with _ending():
            super().flush()

    def close(self) -> None:
        self.flush()

    def detach(self) -> NoReturn:
        raise io.UnsupportedOperation("the stream that nlbench writes to cannot be detached")


@contextmanager
def _ending() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        if hasattr(signal, "SIGPIPE"):  # and not the exit code 1, which is a verdict
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.raise_signal(signal.SIGPIPE)
        raise


@contextmanager
def prepared() -> Iterator[None]:
    """Let both streams take everything, and last, remarks be one line each, and each warning be said once, while this lasts."""
    with _lasting("stdout"), _lasting("stderr"), warnings.catch_warnings():
        shown = warnings.showwarning
        said: set[tuple[str, type[Warning]]] = set()

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if (str(message), category) in said:  # Python says a thing again where a library has changed its filters meanwhile
                return
            said.add((str(message), category))
            shown(message, category, *place)

        warnings.showwarning = show  # type: ignore[assignment]
        with remarks_told(lambda remark: sys.stderr.write(f"nlbench: {remark}\n")):
            yield


@contextmanager
def _lasting(name: str) -> Iterator[None]:
    """Have `sys` write where it does now through a stream that lasts; nowhere where it has none, as after `2>&-`."""
    given = getattr(sys, name)
    if given is None:
        lasting = _Lasting(os.fdopen(os.open(os.devnull, os.O_WRONLY), "wb"), errors=PLAIN)
    elif type(given) is not io.TextIOWrapper or not isinstance(given.buffer, io.BufferedWriter | io.FileIO):
        if hasattr(given, "reconfigure"):  # of a test or a notebook: it has no file of its own
            given.reconfigure(errors=PLAIN)
        yield
        return
    else:
        copy = os.fdopen(os.dup(given.fileno()), "wb")
        lasting = _Lasting(copy, given.encoding, PLAIN, line_buffering=given.line_buffering, write_through=given.write_through)
    setattr(sys, name, lasting)
    try:
        yield
    finally:
        setattr(sys, name, given)
        with suppress(OSError):  # which was told, where it could be
            lasting.flush()
