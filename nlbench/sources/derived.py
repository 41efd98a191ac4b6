"""What is made from files once and kept in the user's cache, where making it takes longer than reading it."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlbench import cache
from nlbench.specs import digest


def kept(facts: Mapping[str, Any], make: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return what `make` returns, from the cache where it was made of the same facts: data, options, versions and code.

    A file that cannot be read, or a cache that cannot be written, costs time and nothing else.
    """
    home = cache.folder()
    path = home / "derived" / f"{digest(dict(facts))}.npz" if home is not None else None
    if path is not None:
        with suppress(OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error), np.load(path) as arrays:
            return {name: arrays[name] for name in arrays.files}  # a zip archive: each array has its CRC-32
    made = make()
    if path is not None:
        with suppress(OSError):
            _write(path, made)
    return made


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".making-") as beside:
        np.savez_compressed(Path(beside) / path.name, allow_pickle=False, **arrays)
        os.replace(Path(beside) / path.name, path)
