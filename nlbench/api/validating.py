"""Declarations and records are checked: what a file is, and every rule that it breaks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from nlbench import catalog, specs
from nlbench.errors import NlbenchError, SpecError, UnknownNameError
from nlbench.places import place, several
from nlbench.records import read_record
from nlbench.sources import is_data
from nlbench.specs.problems import near, shown
from nlbench.sweep import read_grid
from nlbench.verify import claim_of, trial


class Checked(NamedTuple):
    """A file, what it declares or is, and every rule it breaks."""

    path: Path
    kind: str  # "stream", "learner", "claim", "grid" or "record"; empty where it breaks a rule
    problems: tuple[str, ...]


def validate(paths: Iterable[str | Path]) -> list[Checked]:
    """Return, for each stream, recipe, claim, grid or record, what it is and every rule it breaks; a folder stands for all that
    lie right in it. Opens nothing that they name.
    """
    return [checked for path in several(paths) for checked in _all_checked(place(path))]


_ANOTHERS: Final = "pyproject.toml"


def _all_checked(path: Path) -> list[Checked]:
    if not path.is_dir():
        return [_checked(path)]
    files = sorted(file for file in path.iterdir() if file.suffix in (".toml", ".parquet") and file.name != _ANOTHERS)
    return [_checked(file) for file in files] or [Checked(path, "", (f"{path}: holds no .toml and no .parquet file",))]


def _checked(path: Path) -> Checked:
    try:
        if path.suffix == ".parquet":
            read_record(path)
            return Checked(path, "record", ())
        return Checked(path, declared(specs.read_table(path), path), ())
    except SpecError as error:
        return Checked(path, "", error.problems)
    except NlbenchError as error:
        return Checked(path, "", (str(error),))


_TELLING: Final = ("stream", "learner", "cells", "models")


def declared(table: Mapping[str, Any], path: Path) -> str:
    """Return what the table of a file declares, "stream", "learner", "claim" or "grid", after checking all of it. Raises
    `SpecError` with every rule that it breaks.
    """
    where = str(path)
    if "stream" in table or "learner" in table:
        return specs.validate(dict(table), path, catalog.names("stream"))
    if {"cells", "holds", "statement"} & table.keys():
        claim = claim_of(table, where)
        cells = claim.cells.values()
        _refuse_unknown(where, (cell.model for cell in cells), (cell.stream for cell in cells))
        if not any(_own(name) for cell in cells for name in (cell.model, cell.stream)):  # a file would be opened, and run
            trial(path.stem, claim, reduced=False, file=where)
        return "claim"
    if {"models", "streams"} & table.keys():
        grid = read_grid(table, where)
        _refuse_unknown(where, grid.models, grid.streams)
        return "grid"
    meant = next((found for key in table if (found := near(key, _TELLING))), "")
    rule = "must say stream, learner, cells or models, as a stream, a recipe, a claim or a grid does"
    raise SpecError([f"{where}: {rule}{meant}, got {shown(list(table))}"])


def _refuse_unknown(where: str, models: Iterable[str], streams: Iterable[str]) -> None:
    """Raise SpecError for names that are neither in the catalog nor those of files or classes of one's own."""
    told = [*_unknown("model", models, catalog.registered("learners")), *_unknown("stream", streams)]
    if told:
        raise SpecError([f"{where}: {error}" for error in told])


def _unknown(kind: catalog.Kind, names: Iterable[str], registered: Iterable[str] = ()) -> Iterator[UnknownNameError]:
    known = {*catalog.names(kind), *registered}
    for name in dict.fromkeys(names):
        if not _own(name) and name.partition("@")[0] not in known:
            yield catalog.unknown(kind, name, registered)


def _own(name: str) -> bool:
    """Return whether a name is that of a file, or of what a file holds."""
    return ":" in name or "/" in name or name.endswith(".toml") or is_data(name)


__all__ = ["Checked", "declared", "validate"]
