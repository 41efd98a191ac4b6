"""What there is to choose from: `nlbench list`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from nlbench import catalog, metrics, sources, specs
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
