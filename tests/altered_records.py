"""Records that somebody altered who knows the format: whole, sealed, and in agreement with themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nlbench.metrics import METRICS
from nlbench.records import Record, Row, read_record, write_record
from nlbench.specs import digest
from nlbench.specs.identity import FINGERPRINTED, fingerprint, stream_digest

_MADE_ANEW = {"runs", "null_metrics", "metric_versions", "schema_version", "created"}


def altered(record: Record, path: Path, change: Callable[[Row], Row] = lambda row: row, **facts: Any) -> Record:
    """Return a record whose rows or facts were changed and whose metrics, digests and checksum fit them."""
    rows = [Row(*values.values()) for values in record.table.select(list(Row._fields)).to_pylist()]
    kept = [change(row) for row in rows if row.metric not in METRICS or row.on_task is not None]
    said = {**record.footer.facts(without=_MADE_ANEW), **facts}
    if facts:
        said["stream_digest"] = stream_digest(said["stream_spec"], said["data"])
        said["learner_digest"] = digest(said["learner_spec"])
        said["fingerprint"] = fingerprint({name: said[name] for name in FINGERPRINTED})
    return read_record(write_record(path, rows=kept, metadata=said))


def better(seed: int, samples: int) -> Callable[[Row], Row]:
    """Return what gives a seed so many more right answers to each task that is over, where there are wrong ones."""

    def change(row: Row) -> Row:
        if row.seed != seed or row.metric != "accuracy" or row.value is None or row.n is None:
            return row
        over = (row.on_task or 0) < (row.after_task or 0)
        return row._replace(value=min(round(row.value * row.n) + samples, row.n) / row.n) if over else row

    return change
