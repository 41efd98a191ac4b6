"""What there is to choose from, and what a name stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from nlbench import catalog, metrics, sources, specs
from nlbench.errors import NlbenchError, RecordError, UnknownNameError
from nlbench.places import place

if TYPE_CHECKING:
    from nlbench.records import Record

Kind = Literal["all", "models", "streams", "extensions", "metrics", "claims", "records"]

EXTENSIONS: Final[dict[catalog.Group, str]] = {
    "learners": "learners",
    "networks": "networks",
    "sources": "data sets",
    "streams": "kinds of streams",
}
"""What recipes and stream files are made of; metrics have a list of their own."""


@dataclass(frozen=True)
class Listing:
    """What there is; None of what was not asked for."""

    models: Mapping[str, str] | None  # titles by name
    streams: Mapping[str, str] | None  # titles by name
    extensions: Mapping[str, list[str]] | None  # names by group, what is registered too
    metrics: tuple[metrics.Metric, ...] | None
    claims: Mapping[str, str] | None  # titles by name
    records: tuple[Record, ...] | None
    results: Path  # where records were looked for
    skipped: tuple[str, ...] = ()  # what is there and no record


def listing(what: Kind = "all", results: str | Path = "results") -> Listing:
    """Return the models, streams, extensions and metrics there are, and the records in a folder. Imports the reader only if it
    has any.
    """
    results = place(results)
    records, skipped = _recorded(results) if what in ("all", "records") else (None, ())
    return Listing(
        _titles("model") if what in ("all", "models") else None,
        _titles("stream") if what in ("all", "streams") else None,
        {title: catalog.extensions(group) for group, title in EXTENSIONS.items()} if what in ("all", "extensions") else None,
        tuple(metrics.METRICS.values()) if what in ("all", "metrics") else None,
        _titles("claim") if what in ("all", "claims") else None,
        records,
        results,
        skipped,
    )


def _titles(kind: catalog.Kind) -> dict[str, str]:
    return {name: _title(specs.read_table(catalog.find(kind, name))) for name in catalog.names(kind)}


def _title(table: Mapping[str, Any]) -> str:
    """Return the title of a stream with its data set and what that is about, or that of a recipe with what its learner needs and
    keeps.
    """
    source = table.get("stream", {}).get("source")
    if isinstance(source, str) and catalog.built_in("sources", source):
        return f"{table.get('title', '')} ({sources.find(source).modality}: {source})"
    title, needs, keeps = str(table.get("title", "")), ", ".join(needed(table)), catalog.keeps(_learner(table))
    said = "; ".join([*([f"needs {needs}"] if needs else []), *([f"keeps {keeps}"] if keeps else [])])
    return f"{title} ({said})" if said else title


def needed(table: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the learner of a recipe needs, where that is known without its class."""
    return catalog.needs(_learner(table))


def _learner(table: Mapping[str, Any]) -> str:
    return str(table.get("learner", {}).get("kind", ""))


def _recorded(results: Path) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    if not results.is_dir() or not any(results.glob("*.parquet")):
        return (), ()
    from nlbench.records import read_records

    records, skipped = read_records([results])
    return tuple(records), tuple(skipped)


@dataclass(frozen=True)
class Declaration:
    """A stream or a recipe as its file has it."""

    kind: str  # "stream" or "learner"
    name: str
    text: str
    table: Mapping[str, Any]
    needs: tuple[str, ...] = ()  # what its learner cannot do without, such as boundaries


def named(names: Iterable[str]) -> list[Declaration | Record]:
    """Return what each name stands for: a model, a stream, the file of one, or a record."""
    return [_named(name) for name in names]


def _named(name: str) -> Declaration | Record:
    if name.endswith(".parquet") or place(name).is_dir():
        return _record(name)
    if (sources.is_data(name) and Path(name).is_file()) or ".py:" in name:
        hint = f'Declare a stream of it, [stream] source = "{name}", and show that file of TOML.'
        raise NlbenchError(f"{name}: is data, and no model, stream or record.", hint)
    path = _declared(name)
    table = specs.read_table(path)
    return Declaration(specs.validate_file(path), path.stem, path.read_text(encoding="utf-8").strip(), table, needed(table))


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
    raise UnknownNameError("model, stream or record", name, [*catalog.names("model"), *catalog.names("stream")])
