"""Data sets as files: fetched where they are missing, and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from nlbench import sources, specs
from nlbench.errors import DataError, UnknownNameError


class Verified(NamedTuple):
    """A data set: the folder in which its files were verified and how many, or what is in the way."""

    name: str
    folder: Path | None
    files: int
    problem: str = ""


def fetch_data(names: Sequence[str] = (), data: str | Path | None = None) -> list[Verified]:
    """Download what is missing of data sets, all by default, and check every checksum; return what became of each."""
    return _each(names, data, sources.fetch)


def verify_data(names: Sequence[str] = (), data: str | Path | None = None) -> list[Verified]:
    """Check the checksums of the data sets that are here, all by default; return what was found of each."""
    return _each(names, data, sources.verify)


def _each(names: Sequence[str], data: str | Path | None, look: Callable[[str, Path | None], dict[str, Path]]) -> list[Verified]:
    """Look at each data set, after making sure that all are known."""
    folder = None if data is None else Path(data)
    for name in names:
        if name not in specs.SOURCES:
            raise UnknownNameError("data set", name, specs.SOURCES)
    return [_looked(name, folder, look) for name in names or specs.SOURCES]


def _looked(name: str, folder: Path | None, look: Callable[[str, Path | None], dict[str, Path]]) -> Verified:
    try:
        found = look(name, folder)
    except DataError as error:
        return Verified(name, None, 0, str(error))
    return Verified(name, next(iter(found.values())).parent, len(found))
