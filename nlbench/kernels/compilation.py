"""Compiles functions with Numba and keeps their machine code on disk, apart for every version of the sources it is made from.

Numba looks only at the file a function is written in to tell whether its stored code is out of date. Kernels are made of
functions of several files, so each version of those files gets a folder of its own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numba
import platformdirs
from numba.core.caching import FunctionCache
from numba.core.runtime import rtsys


class Storage(FunctionCache):
    """Numba's own store, read without first registering all that Numba can compile: 0.3 s that stored code has no use for."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        rtsys.initialize(target_context)  # its allocator, which stored code calls
        return self._load_overload(sig, target_context)


def stored(compilable: Any, function: Callable[..., Any]) -> Any:
    """A Numba dispatcher or C function that was made of `function` and is not compiled yet; its machine code is looked for and
    stored in this version's folder.
    """
    settings: Any = numba.config
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(FOLDER)
    try:
        compilable._cache = Storage(function)
    finally:
        settings.CACHE_DIR = before
    return compilable


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """The function, compiled by Numba on first use: C division, no interpreter lock, stored on disk."""
    return stored(numba.njit(nogil=True, error_model="numpy", **options)(function), function)


def _folder() -> Path:
    here = Path(__file__).parent
    shared = (here / name for name in ("compilation.py", "elementary.py", "programs.py", "tiles.py"))
    sources = sorted({*shared, *here.glob("*/_[!_]*.py")} - {*here.glob("*/_triton*.py")})
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    root = os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_path("nlbench") / "numba"
    return Path(root) / digest


FOLDER: Final = _folder()
