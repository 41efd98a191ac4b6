"""Sources: data sets as objects that know their files, checksums, origin and how they are read. Imports no torch, and neither
torchvision nor scikit-learn.

A source of one's own is a data file, `source = "./file.parquet"`; a function that returns arrays, `"./file.py:function"`; or an
object of a subclass of `Source` that defines `read`, `"./file.py:NAME"`.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import isfunction
from pathlib import Path
from typing import TYPE_CHECKING

from nlbench import catalog
from nlbench.errors import Blamed, DataError
from nlbench.sources.in_memory import from_arrays
from nlbench.sources.source import Arrays, Source, class_means, folders, keep_last, read, read_ahead
from nlbench.specs.names import ENDS, called

if TYPE_CHECKING:
    from nlbench.specs.reading import Reading


def find(name: str, reading: Reading | None = None) -> Source:
    """Return a data set: ours, a registered one, a data file or folder, or what `./file.py:NAME` or `package.module:NAME` names,
    which is a `Source`, or a function that returns one task, returns a list of them or yields them, as
    `nlbench.stream_from_arrays` takes them.

    `reading` says how a file is read. Raises `DataError` for a file that cannot be.
    """
    if is_data(name):
        from nlbench.sources.user_files import opened  # pyarrow, which no other source needs

        return opened(name, reading)
    if reading is not None:
        raise DataError(f"{name}: is no file, so that [stream.read] says nothing of it.", "Leave that table out.")
    found = catalog.extension("sources", name, _fits, "a nlbench.sources.Source, or a function that returns arrays")
    if isinstance(found, Source):
        return found
    with Blamed(name):
        made = found()
        tasks = list(made) if isinstance(made, list | Iterator) else [made]
    return from_arrays(name, tasks)


def _fits(value: object) -> bool:
    return isinstance(value, Source) or isfunction(value)


def is_data(name: str) -> bool:
    """Return whether a name is that of a data file, or of a folder of some."""
    path = Path(name)
    is_file = path.suffix.lower() in ENDS
    if ".py:" in path.name or (":" in path.name and not is_file):
        return False
    return path.suffix not in (".py", ".toml") and (is_file or "/" in name)


__all__ = ["ENDS", "Arrays", "Source", "called", "class_means", "find", "folders", "is_data", "keep_last", "read", "read_ahead"]
