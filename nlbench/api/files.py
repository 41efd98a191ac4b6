"""What is done with records as files: they are exported, pruned and brought up to date."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nlbench.places import several
from nlbench.records import read_records, tools
from nlbench.records.tools import prune


class Exported(NamedTuple):
    """A file that was written, of how many records, and what was skipped while reading."""

    path: Path
    records: int
    skipped: tuple[str, ...]


def export(paths: Iterable[str | Path], out: str | Path) -> Exported:
    """Write all rows of the records in files and folders to one `.csv`, `.jsonl` or `.parquet` file, atomically."""
    records, skipped = read_records(several(paths))
    return Exported(tools.export(records, out), len(records), tuple(skipped))


def export_hub(paths: Iterable[str | Path], folder: str | Path) -> Exported:
    """Write the records in files and folders as a data set for the Hugging Face hub: Parquet files as they are, and a card."""
    from nlbench import publishing  # matplotlib and jinja2, which no other of these needs

    records, skipped = read_records(several(paths))
    return Exported(*publishing.hub(records, folder), tuple(skipped))


def migrate(path: str | Path) -> bool:
    """Rewrite a record in today's schema with today's metrics, in place; return whether there was anything to do."""
    return tools.migrate(path)


__all__ = ["Exported", "export", "export_hub", "migrate", "prune"]
