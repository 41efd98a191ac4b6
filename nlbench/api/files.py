"""What is done with files: records and declarations are checked, exported, pruned and brought up to date."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nlbench import catalog, specs
from nlbench.errors import NlbenchError, SpecError
from nlbench.places import place
from nlbench.records import read_record, read_records, tools
from nlbench.records.tools import prune


class Exported(NamedTuple):
    """A file that was written, of how many records, and what was skipped while reading."""

    path: Path
    records: int
    skipped: tuple[str, ...]


def export(paths: Iterable[str | Path], out: str | Path) -> Exported:
    """Write all rows of the records in files and folders to one `.csv`, `.jsonl` or `.parquet` file, atomically."""
    records, skipped = read_records(paths)
    return Exported(tools.export(records, out), len(records), tuple(skipped))


def export_hub(paths: Iterable[str | Path], folder: str | Path) -> Exported:
    """Write the records in files and folders as a data set for the Hugging Face hub: Parquet files as they are, and a card."""
    from nlbench import publishing  # matplotlib and jinja2, which no other of these needs

    records, skipped = read_records(paths)
    return Exported(*publishing.hub(records, folder), tuple(skipped))


def migrate(path: str | Path) -> bool:
    """Rewrite a record in today's schema with today's metrics, in place; return whether there was anything to do."""
    return tools.migrate(path)


class Checked(NamedTuple):
    """A file, what it declares or is, and every rule it breaks."""

    path: Path
    kind: str  # "stream", "learner" or "record"; empty where it breaks a rule
    problems: tuple[str, ...]


def validate(paths: Iterable[str | Path]) -> list[Checked]:
    """Return, for each stream file, recipe or record, what it is and every rule it breaks. Opens nothing that they name."""
    return [_checked(place(path)) for path in paths]


def _checked(path: Path) -> Checked:
    try:
        if path.suffix == ".parquet":
            read_record(path)
            return Checked(path, "record", ())
        return Checked(path, specs.validate_file(path, catalog.names("stream")), ())
    except SpecError as error:
        return Checked(path, "", error.problems)
    except NlbenchError as error:
        return Checked(path, "", (str(error),))


__all__ = ["Checked", "Exported", "export", "export_hub", "migrate", "prune", "validate"]
