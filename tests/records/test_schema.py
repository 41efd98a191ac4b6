"""What must hold of rows before they are a record."""

from __future__ import annotations

import pyarrow as pa
import pytest

from nlbench.errors import NotFiniteError
from nlbench.records.schema import CONSTANT, SCHEMA, Row, belongs_first, check_finite


@pytest.mark.parametrize("metric", ["accuracy", "chance", "forgetting", "bytes.samples", "seconds.train"])
def test_what_readers_of_many_records_need_lies_first(metric: str) -> None:
    assert belongs_first(metric, frozenset({"forgetting"}))


@pytest.mark.parametrize("metric", ["accuracy_within", "level.4.updates", "prequential_accuracy", "forgetting_first", "bytesize"])
def test_all_else_lies_behind(metric: str) -> None:
    assert not belongs_first(metric, frozenset({"forgetting"}))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_named_with_its_place(bad: float) -> None:
    rows = [Row(0, 1, 2, None, "accuracy", 0.5), Row(3, 1, 2, 40, "accuracy_within", bad)]
    table = pa.table({name: [getattr(row, name) for row in rows] for name in Row._fields})
    with pytest.raises(NotFiniteError, match=r"^here: accuracy_within \(seed 3, after_task 1, on_task 2, samples_seen 40\) is "):
        check_finite(table, "here")


def test_null_is_no_number_and_passes() -> None:
    check_finite(pa.table({"value": pa.array([None, 0.5], pa.float64())}), "here")
    check_finite(pa.table({"value": pa.array([], pa.float64())}), "here")


def test_a_row_has_the_columns_that_vary_in_a_file() -> None:
    assert set(SCHEMA.names) == {"run", *CONSTANT, *Row._fields}
    assert [field.name for field in SCHEMA if not field.nullable] == ["run", *CONSTANT, "metric"]
