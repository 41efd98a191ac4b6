"""Records: what a run measured, in one Parquet file that any tool can read."""

from nlbench.records.files import record_files
from nlbench.records.footer import Execution, Footer, NotARecordError
from nlbench.records.record import Record
from nlbench.records.schema import SCHEMA, SCHEMA_VERSION, Row
from nlbench.records.store import (
    add_execution,
    extend_record,
    note_diverged,
    read_record,
    read_records,
    rewrite_record,
    write_record,
)

__all__ = [
    "SCHEMA",
    "SCHEMA_VERSION",
    "Execution",
    "Footer",
    "NotARecordError",
    "Record",
    "Row",
    "add_execution",
    "extend_record",
    "note_diverged",
    "read_record",
    "read_records",
    "record_files",
    "rewrite_record",
    "write_record",
]
