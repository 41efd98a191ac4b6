"""What the command line writes to: whatever the encoding, all that is written can be; a remark is one line."""

from __future__ import annotations

import codecs
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from nlbench.errors import Remark

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


@contextmanager
def prepared() -> Iterator[None]:
    """Let both streams take everything, and remarks be one line each, while this lasts."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=PLAIN)
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if issubclass(category, Remark):
                sys.stderr.write(f"nlbench: {message}\n")
            else:
                shown(message, category, *place)

        warnings.showwarning = show  # type: ignore[assignment]
        yield
