"""Which files paths name. The one place where folders and patterns are opened."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from nlbench.errors import RecordError
from nlbench.places import MARK, is_remote, place
from nlbench.records.storage import reaching

REFERENCE_FOLDER: Final = "reference"


def record_files(paths: Iterable[Path | str], *, references: bool = False) -> list[Path]:
    """Return the files that paths name, each once, in order.

    A folder names its records, and with `references` those of its folder `reference` too; a pattern what it matches, unless a
    file has its very name; any other path itself, whether it is there or not. Raises `RecordError` for what no file can be
    called, and for a pattern that matches nothing.
    """
    found: dict[str, Path] = {}
    for path in map(place, paths):
        with reaching(path):
            for file in _named(path, references):
                found.setdefault(str(file) if is_remote(file) else os.path.realpath(file), file)
    return list(found.values())


def _named(path: Path, references: bool) -> list[Path]:
    if _is_folder(path):
        return sorted([*path.glob("*.parquet"), *(path.glob(f"{REFERENCE_FOLDER}/*.parquet") if references else ())])
    if glob.has_magic(str(path)) and not path.exists():
        matching = sorted(_matching(path))
        if not matching:
            raise RecordError(f"{path}: matches nothing {_looked_in(path)}.")
        return record_files(matching, references=references)
    return [path]


def _looked_in(pattern: Path) -> str:
    """Return where a pattern was looked for: the folder before its first mark."""
    folder = next(parent for parent in pattern.parents if not glob.has_magic(str(parent)))
    there = folder.is_dir()
    named = str(folder) if is_remote(folder) else os.path.abspath(folder)
    return f"in {named}" if there else f"as there is no folder {named}"


def _matching(path: Path) -> list[str]:
    """Return what a pattern matches."""
    if not is_remote(path):
        return glob.glob(str(path))
    return [f"{path.protocol}{MARK}{found}" for found in path.fs.glob(path.path)]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir() if is_remote(path) else stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    except (OSError, ValueError) as error:  # too long, a loop of links, a null
        raise RecordError(f"{str(path)[:200]}: cannot be looked for: {getattr(error, 'strerror', error)}.") from None
