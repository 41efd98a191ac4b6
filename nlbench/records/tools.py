"""What is done with records as files: say where two differ, export, prune, migrate."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from nlbench import escaping
from nlbench.errors import RecordError
from nlbench.metrics import versions
from nlbench.places import place
from nlbench.records import arrays
from nlbench.records.facts import Difference, differences, stated
from nlbench.records.files import REFERENCE_FOLDER, record_files
from nlbench.records.record import Record
from nlbench.records.schema import SCHEMA_VERSION
from nlbench.records.storage import storage
from nlbench.records.store import read_record, read_records, replace_file, rewrite_record

_BOOKKEEPING: Final = frozenset(
    {
        *("check", "created", "files", "metric_versions", "null_metrics", "run", "runs", "schema_version"),
        *("fingerprint", "learner_digest", "stream_digest"),  # what they are made of says more
    }
)
EXPORTS: Final = (".csv", ".jsonl", ".parquet")


def diff(first: Record, second: Record) -> list[Difference]:
    """Return the facts in which two records differ: declarations, data, seeds, code, machine, versions.

    Of what belongs to one execution, that of the newest; names and dates of executions do not count.
    """
    return differences(*(one.footer.facts(without=_BOOKKEEPING) for one in (first, second)))


def export(records: Iterable[Record], path: Path | str) -> Path:
    """Write all rows of the records to one `.csv`, `.jsonl` or `.parquet` file, atomically, and return its path."""
    path = place(path)
    if path.suffix not in EXPORTS:
        raise RecordError(f"{path}: export knows {', '.join(EXPORTS)}, not {path.suffix or 'a name without ending'!r}.")
    table = pa.concat_tables([record.table for record in records])
    return replace_file(path, {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}[path.suffix](table))


def _csv(table: pa.Table) -> bytes:
    from pyarrow import csv  # a tenth of the time a comparison takes, and only needed here

    for name in (field.name for field in table.schema if pa.types.is_string(field.type)):
        cells = [escaping.csv(text) for text in table[name].to_pylist()]
        table = table.set_column(table.schema.get_field_index(name), name, arrays.from_strings(cells))
    text = io.BytesIO()
    csv.write_csv(table, text, csv.WriteOptions(quoting_style="needed"))
    return text.getvalue()


def _json_lines(table: pa.Table) -> bytes:
    return "".join(f"{json.dumps(row, allow_nan=False)}\n" for row in table.to_pylist()).encode()


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", store_schema=False)
    return sink.getvalue().to_pybytes()


def superseded(records: Sequence[Record]) -> list[Record]:
    """Return the records whose very declaration a newer record measured with other code, data or protocol."""
    newest: dict[str, Record] = {}
    for record in records:
        held = newest.setdefault(declaration(record), record)
        if record.footer.created > held.footer.created:
            newest[declaration(record)] = record
    return [record for record in records if newest[declaration(record)] is not record]


def declaration(record: Record) -> str:
    """Return what tells a learner on a stream from others, whatever code, data and protocol measured it."""
    said = record.footer
    declared = stated([said.stream_spec, said.learner_spec])
    return json.dumps([said.model, said.stream, said.scenario, declared, said.precision], sort_keys=True)


def prune(folder: Path | str, *, delete: bool = False) -> dict[Path, str]:
    """Return the files of a results folder that may go, each with what it is; `delete` removes them.

    They are superseded records, what killed writers left, and checkpoints: of runs that were killed, which the same command
    would resume, or that are still going on. References are never among them.
    """
    folder = place(folder)
    if not folder.is_dir():
        raise RecordError(f"{folder}: is not a folder.", "Name a folder of records.")
    records = read_records([folder])[0] if record_files([folder]) else []
    old = [path for record in superseded(records) for path in record.paths if path.parent.name != REFERENCE_FOLDER]
    left = [*folder.glob(".*.parquet.*.tmp"), *folder.glob(".checkpoints/.*.tmp")]
    files = dict.fromkeys(old, "superseded")
    files |= dict.fromkeys(sorted(left), "left over")
    files |= dict.fromkeys(sorted(folder.glob(".checkpoints/*.checkpoint")), "checkpoint")
    if delete:
        for path in files:
            storage(path).delete(path)
    return files


def migrate(path: Path | str) -> bool:
    """Rewrite a record in today's schema with today's metrics, in place; return whether there was anything to do."""
    record = read_record(path)
    if (record.footer.schema_version, record.footer.metric_versions) == (SCHEMA_VERSION, versions()):
        return False
    rewrite_record(record, path)
    return True
