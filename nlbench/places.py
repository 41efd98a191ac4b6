"""Where files lie: a folder of this machine, or what fsspec reaches under a URL, such as `s3://bucket/results`."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeGuard, cast

from nlbench.errors import NlbenchError

MARK = "://"


def place(name: str | PathLike[str]) -> Path:
    """Return a path: of this machine, or for a URL an object with the methods of `Path` that nlbench uses.

    Raises NlbenchError for what is no path, and where a URL is given and the extra `s3` is not installed, or nothing reads its
    kind.
    """
    if isinstance(name, Path) or is_remote(name):
        return name
    if not isinstance(fspath(name) if isinstance(name, PathLike) else name, str) or "\0" in str(name):
        raise NlbenchError(f"{name!r}: must be the path of a folder or file.")
    if not isinstance(name, str) or MARK not in name:
        return Path(name)
    try:
        from upath import UPath
    except ImportError:
        raise NlbenchError(f"{name}: needs fsspec.", "Install it: pip install 'nlbench[s3]'.") from None
    try:
        kind = name.partition(MARK)[0]
        found = UPath(name, use_listings_cache=False) if kind in ("s3", "s3a") else UPath(name)  # others write there too
        _ = found.fs
    except (ImportError, ValueError) as error:
        raise NlbenchError(f"{name}: cannot be reached: {error}.", "s3:// needs: pip install 'nlbench[s3]'.") from None
    return cast(Path, found)


def several(given: Any) -> list[Any]:
    """Return what names one place, or several, as a list."""
    return [given] if isinstance(given, str | Path) or is_remote(given) else list(given)


def is_remote(path: object) -> TypeGuard[Any]:
    """Return whether a path is none of this machine's, but one that fsspec reaches."""
    return hasattr(path, "fs")
