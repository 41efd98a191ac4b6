"""Which files paths name. The one place where folders and patterns are opened."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path
from typing import Final

REFERENCE_FOLDER: Final = "reference"


def record_files(paths: Iterable[Path | str], *, references: bool = False) -> list[Path]:
    """Return the files that paths name, each once, in order.

    A folder names its records, and with `references` those of its folder `reference` too; a pattern what it matches, unless a
    file has its very name; any other path itself, whether it is there or not.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if path.is_dir():
            files = sorted([*path.glob("*.parquet"), *(path.glob(f"{REFERENCE_FOLDER}/*.parquet") if references else ())])
        elif glob.has_magic(str(path)) and not path.exists():
            files = record_files(sorted(glob.glob(str(path))), references=references)
        else:
            files = [path]
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())
