"""What a name stands for, a declaration or a record: `nlbench show`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlbench import catalog, sources, specs
from nlbench.api.choices import needed
from nlbench.errors import NlbenchError, RecordError, UnknownNameError
from nlbench.places import place

if TYPE_CHECKING:
    from nlbench.records import Record


@dataclass(frozen=True)
class Declaration:
    """A stream, a recipe, a claim or a grid as its file has it."""

    kind: str  # "stream", "learner", "claim" or "grid"
    name: str
    text: str
    table: Mapping[str, Any]
    needs: tuple[str, ...] = ()  # what its learner cannot do without, such as boundaries


def named(names: Iterable[str]) -> list[Declaration | Record]:
    """Return what each name stands for: a model, a stream, a claim, the file of one or of a grid, or a record."""
    return [_named(name) for name in names]


def _named(name: str) -> Declaration | Record:
    if name.endswith(".parquet") or place(name).is_dir():
        return _record(name)
    if (sources.is_data(name) and Path(name).is_file()) or ".py:" in name:
        hint = f'Declare a stream of it, [stream] source = "{name}", and show that file of TOML.'
        raise NlbenchError(f"{name}: is data, and no model, stream or record.", hint)
    path = _declared(name)
    table = specs.read_table(path)
    return Declaration(_kind(table, path), path.stem, path.read_text(encoding="utf-8").strip(), table, needed(table))


def _kind(table: dict[str, Any], path: Path) -> str:
    if {"stream", "learner"} & table.keys():
        return specs.validate(table, path)
    from nlbench.api.validating import declared  # with all that sweeps and claims are made of

    return declared(table, path)


def _record(name: str) -> Record:
    """Return the record in a file, or the only one in a folder."""
    from nlbench.records import read_record, record_files

    files = record_files([name]) or record_files([name], references=True)
    if len(files) == 1:
        return read_record(files[0])
    if not files:
        hint = (
            "Name a record, or the folder of its run's --results; data is looked at as a stream, which a file of TOML declares."
        )
        raise RecordError(f"{name} is a folder without records.", hint)
    raise RecordError(
        f"{name} is a folder of {len(files)} records.",
        f"Name one, such as {files[0]}, or list them: nlbench list records --results {files[0].parent}",
    )


def _declared(name: str) -> Path:
    if name.endswith(".toml") or "/" in name:
        return catalog.find("model", name)
    if name in catalog.names("stream"):
        return catalog.find("stream", name)
    if name in catalog.names("model"):
        return catalog.find("model", name)
    if name in catalog.names("claim"):
        return catalog.find("claim", name)
    if name in catalog.PLAIN:
        raise catalog.unknown("model", name)
    known = [each for kind in catalog.FOLDERS for each in catalog.names(kind)]
    raise UnknownNameError("model, stream, claim or record", name, known)
