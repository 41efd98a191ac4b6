"""The columns of a record and what must hold between its rows."""

from __future__ import annotations

from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from nlbench.errors import NotFiniteError, RecordError

# History of SCHEMA_VERSION (raise it when a reader of the older version would misread a newer file):
#   1  the columns below; footer key `nlbench` holds the metadata as JSON;
#      row group 0 holds the matrix, chance, the metrics, bytes and seconds.
SCHEMA_VERSION: Final = 1
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
KEY: Final = ("run", "seed", "metric", "after_task", "on_task", "samples_seen")
CONSTANT: Final = ("model", "stream", "stream_digest", "scenario")  # one value in a file, equal to the metadata's

# The metadata every record has; the runner adds more.
REQUIRED_METADATA: Final = (
    "run",
    "model",
    "stream",
    "stream_digest",
    "scenario",
    "fingerprint",
    "seeds",
    "n_tasks",
    "protocol_version",
)
# What the fingerprint covers or a later execution of the same record must share; all else belongs to one execution.
IDENTITY: Final = frozenset(
    {
        "model",
        "stream",
        "stream_digest",
        "scenario",
        "fingerprint",
        "n_tasks",
        "protocol_version",
        "stream_spec",
        "learner_spec",
        "learner_digest",
        "data",
        "precision",
        "source_digest",
    }
)


class Row(NamedTuple):
    """One measured value, as the protocol yields it."""

    seed: int | None
    after_task: int | None
    on_task: int | None
    samples_seen: int | None
    metric: str
    value: float | None
    n: int | None = None


def belongs_first(metric: str, metrics: frozenset[str]) -> bool:
    """Return whether rows of this metric lie in row group 0, which is all that readers of many records read."""
    return metric in {"accuracy", "chance"} or metric in metrics or metric.startswith(("bytes.", "seconds."))


def check_table(table: pa.Table, *, n_tasks: int, place: str) -> None:
    """Refuse, naming `place`, non-finite values, accuracies outside [0, 1], tasks outside the stream and repeated keys."""
    check_finite(table, place)
    shares = table.filter(pc.is_in(table["metric"], value_set=pa.array(["accuracy", "accuracy_within", "chance"])))
    if not _all(pc.and_(pc.greater_equal(shares["value"], 0.0), pc.less_equal(shares["value"], 1.0))):
        raise RecordError(f"{place}: an accuracy lies outside [0, 1].")
    if not _all(pc.and_(pc.greater_equal(table["after_task"], 0), pc.less_equal(table["after_task"], n_tasks))):
        raise RecordError(f"{place}: after_task lies outside 0..{n_tasks}.")
    if not _all(pc.and_(pc.greater_equal(table["on_task"], 1), pc.less_equal(table["on_task"], n_tasks))):
        raise RecordError(f"{place}: on_task lies outside 1..{n_tasks}.")
    counts = table.group_by(list(KEY)).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if repeated.num_rows:
        raise RecordError(f"{place}: two values for {_name(repeated.slice(0, 1).to_pylist()[0])}.")


def check_finite(table: pa.Table, place: str) -> None:
    """Refuse, naming `place`, NaN and infinity. Done in Arrow, which tells NaN from null; numpy and pandas do not."""
    finite = pc.is_finite(table["value"])
    if not _all(finite):
        bad = table.filter(pc.invert(pc.fill_null(finite, True))).slice(0, 1).to_pylist()[0]
        raise NotFiniteError(f"{place}: {_name(bad)} is {bad['value']}.", "What was not measured is null, never NaN.")


def _all(condition: pa.ChunkedArray) -> bool:
    """Return whether the condition holds wherever it is not null."""
    return pc.all(condition, min_count=0).as_py() is not False


def _name(row: dict[str, object]) -> str:
    where = ", ".join(f"{key} {row[key]}" for key in ("seed", "after_task", "on_task", "samples_seen") if row[key] is not None)
    return f"{row['metric']} ({where})" if where else str(row["metric"])
