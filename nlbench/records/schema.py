"""The columns of a record and what must hold between its rows."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from nlbench.errors import NlbenchError, NotFiniteError
from nlbench.escaping import name_fault

# History of SCHEMA_VERSION (raise it when a reader of the older version would misread a newer file):
#   1  the columns below; footer key `nlbench` holds the metadata as JSON;
#      row group 0 holds the matrix, chance, the metrics, bytes and seconds.
#   2  `metric_versions`: a version a metric, in the place of one `metrics_version`.
#   3  the footer key `nlbench.sha256` holds a checksum of the file, without which no record of this version is read;
#      `chance` without a task is that of average accuracy over the whole stream.
SCHEMA_VERSION: Final = 3
SEALED_SINCE: Final = 3
METADATA_KEY: Final = b"nlbench"

SCHEMA: Final = pa.schema(
    [
        pa.field("run", pa.string(), nullable=False),  # one execution; a record that gained seeds later holds several
        pa.field("model", pa.string(), nullable=False),
        pa.field("stream", pa.string(), nullable=False),
        pa.field("stream_digest", pa.string(), nullable=False),
        pa.field("scenario", pa.string(), nullable=False),
        pa.field("seed", pa.int64()),  # null: belongs to the whole batched run, such as seconds
        pa.field("after_task", pa.int32()),  # tasks completed, 0..T
        pa.field("on_task", pa.int32()),  # 1..T; null: of the whole stream
        pa.field("samples_seen", pa.int64()),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64()),  # null: not measured; never NaN
        pa.field("n", pa.int64()),  # what the value averages over
    ]
)
CONSTANT: Final = ("model", "stream", "stream_digest", "scenario")  # one value in a file, equal to the metadata's
_OF_THE_PROTOCOL: Final = frozenset(
    {
        *("accuracy", "accuracy_within", "chance", "prequential_accuracy"),
        *("task_aware_accuracy", "negative_log_likelihood", "calibration_error"),
    }
)
CONFUSION: Final = "confusion."
"""What begins the metric of how many samples of a label got an answer: `confusion.<label>.<answer>`."""


class Row(NamedTuple):
    """One measured value, as the protocol yields it."""

    seed: int | None
    after_task: int | None
    on_task: int | None
    samples_seen: int | None
    metric: str
    value: float | None
    n: int | None = None


def belongs_first(metric: str, metrics: Collection[str]) -> bool:
    """Return whether rows of this metric lie in row group 0, which is all that readers of many records read."""
    return metric in {"accuracy", "chance"} or metric in metrics or metric.startswith(("bytes.", "seconds."))


def check_own_name(name: object, of: str, metrics: Collection[str]) -> None:
    """Raise NlbenchError where a learner's own name cannot stand beside those of the protocol; `of` says of what it is."""
    fault = name_fault(name) if isinstance(name, str) else "must be a string"
    if isinstance(name, str) and (name in _OF_THE_PROTOCOL or name.startswith(CONFUSION) or belongs_first(name, metrics)):
        fault = "is the name of what the protocol records"
    if fault:
        raise NlbenchError(f"{of} {str(name)[:60]!r}: {fault}.", "Give it another name, such as level.1.updates.")


def check_finite(table: pa.Table, place: str) -> None:
    """Refuse, naming `place`, NaN and infinity. Done in Arrow, which tells NaN from null; numpy and pandas do not."""
    finite = pc.is_finite(table["value"])
    if pc.all(finite, min_count=0).as_py() is False:
        bad = table.filter(pc.invert(pc.fill_null(finite, True))).slice(0, 1).to_pylist()[0]
        where = ", ".join(
            f"{key} {bad[key]}" for key in ("seed", "after_task", "on_task", "samples_seen") if bad.get(key) is not None
        )
        raise NotFiniteError(
            f"{place}: {bad['metric']} ({where}) is {bad['value']}.", "What was not measured is null, never NaN."
        )
