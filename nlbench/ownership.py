"""Whose a file is: Python's own, an installed package's, this package's, or the user's."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Final

INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_STANDARD: Final = Path(os.__file__).resolve().parent
_OWN: Final = Path(__file__).resolve().parent
_GENERATED: Final = ("torchinductor", ".triton")  # folders of code that compilers write, and which says nothing new


def is_own(file: str) -> bool:
    """Whether a module's file is a user's own: not of the standard library, of this package, or installed."""
    path = Path(file).resolve()
    elsewhere = INSTALLED & set(path.parts) or path.is_relative_to(_STANDARD) or path.is_relative_to(_OWN)
    return not elsewhere and not any(part.startswith(_GENERATED) for part in path.parts)


def is_own_file(file: str) -> bool:
    """Whether a name is that of a file, and the file a user's own."""
    return os.path.isfile(file) and is_own(file)


@cache
def is_standard(file: str) -> bool:
    """Whether a file is one of the standard library's."""
    path = Path(file).resolve()
    return path.is_relative_to(_STANDARD) and not INSTALLED & set(path.parts)
