"""A folder of files that are published together, and can be again: what was of it and is no more goes, the rest stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from nlbench.errors import NlbenchError
from nlbench.records.storage import storage

MANIFEST: Final = "published.json"


def fill(folder: Path, files: Iterable[tuple[str, bytes]], progress: Callable[[int], None] | None = None) -> dict[str, int]:
    """Write files, given by their path within the folder, and return their sizes; `progress` is told how many are written.

    Each is replaced in one step. Those that were published there before and are not given now are removed. Raises NlbenchError
    where the folder holds something else, or cannot be written.
    """
    before = _before(folder)
    sizes: dict[str, int] = {}
    try:
        for path, content in files:
            storage(folder).replace(folder / path, content, sync=False)
            sizes[path] = len(content)
            if progress is not None:
                progress(len(sizes))
        for path in before - sizes.keys():
            storage(folder).delete(folder / path)
        said = {"made_by": "nlbench", "files": sorted(sizes)}
        storage(folder).replace(folder / MANIFEST, json.dumps(said, indent=1).encode())
    except OSError as error:
        raise NlbenchError(f"{error.filename or folder}: cannot be written: {error.strerror}.", "Name another folder.") from error
    return sizes


def _before(folder: Path) -> set[str]:
    """Return the files that were published in a folder before. Refuse a folder that holds anything else instead."""
    if folder.exists() and not folder.is_dir():
        raise NlbenchError(f"{folder}: is a file, not a folder.", "Name a folder.")
    try:
        with storage(folder).open(folder / MANIFEST) as file:
            named = {path for path in json.load(file)["files"] if isinstance(path, str)}
    except FileNotFoundError:
        if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise NlbenchError(f"{folder}: holds files that were not published there.", "Name an empty folder.") from None
        return set()
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise NlbenchError(f"{folder / MANIFEST}: cannot be read: {error}.", "Name an empty folder.") from None
    inside = folder.resolve()
    return {path for path in named if (inside / path).resolve().is_relative_to(inside)}
