"""The rows of a record as columns: what must hold between them, and what is derived from them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from synthetic_records import accuracy_rows, matrix, whole_rows

from nlbench.errors import RecordError
from nlbench.records.columns import NONE, Columns, accuracies, derive, null_metrics, within
from nlbench.records.schema import SCHEMA, Row


def columns(rows: list[Row]) -> Columns:
    """Return the columns of rows."""
    kinds = {field.name: field.type for field in SCHEMA}
    return Columns.of(pa.table({name: pa.array([getattr(row, name) for row in rows], kinds[name]) for name in Row._fields}))


TWO = [*accuracy_rows(0, matrix(0.6, 0.9, 2)), *accuracy_rows(3, matrix(0.7, 0.95, 2))]
WHOLE = [*TWO, *whole_rows(0, 2), *whole_rows(3, 2)]


def test_null_is_told_from_zero() -> None:
    found = columns([Row(None, 0, None, 0, "a", None), Row(0, None, 1, None, "b", 0.0)])
    assert (found.seed.tolist(), found.after_task.tolist(), found.samples_seen.tolist()) == ([NONE, 0], [0, NONE], [0, NONE])
    np.testing.assert_array_equal(found.value, [np.nan, 0.0])
    assert found.where("b").tolist() == [1]
    assert found.where("absent").size == 0
    assert found.of_metrics(["b", "absent"]).tolist() == [False, True]


def test_matrices_stand_at_their_seed_row_and_task_whatever_the_order_of_rows() -> None:
    found = accuracies(columns(TWO[::-1]), (0, 3), 2)
    np.testing.assert_array_equal(found, [matrix(0.6, 0.9, 2), matrix(0.7, 0.95, 2)])
    partial = accuracies(columns(TWO[1:]), (0, 3), 2)
    assert np.argwhere(partial.mask).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (Row(0, 3, 1, None, "accuracy", 0.5), r"after_task lies outside 0\.\.2"),
        (Row(0, 1, 0, None, "accuracy", 0.5), r"on_task lies outside 1\.\.2"),
        (Row(0, 1, 1, 5, "accuracy_within", 1.01), r"an accuracy lies outside \[0, 1\]"),
        (Row(0, None, 1, None, "chance", -0.01), r"an accuracy lies outside \[0, 1\]"),
        (Row(0, None, 1, None, "accuracy", 0.5), "names a seed or a task that the record does not have"),
        (Row(None, 1, 1, None, "accuracy", 0.5), "names a seed or a task that the record does not have"),
        (Row(None, None, None, None, "chance", 0.5), "names a seed or a task that the record does not have"),
        (Row(0, 1, 1, None, "prequential_accuracy", 0.5), "an accuracy is of no samples"),
        (Row(1, 1, None, None, "level.1.updates", 9.0), "names a seed or a task that the record does not have"),
    ],
)
def test_a_row_out_of_place_is_refused(row: Row, rule: str) -> None:
    columns(WHOLE).check((0, 3), 2, "here")
    with pytest.raises(RecordError, match=f"^here: .*{rule}"):
        columns([*WHOLE, row]).check((0, 3), 2, "here")


def test_two_values_for_one_key_are_refused_and_other_keys_are_not() -> None:
    more = [Row(0, 1, 1, 8, "accuracy_within", 0.5), Row(0, 1, 1, 16, "accuracy_within", 0.5)]
    columns([*WHOLE, *more]).check_keys("here")
    with pytest.raises(
        RecordError, match=r"^here: two values for accuracy_within \(seed 0, after_task 1, on_task 1, samples_seen 8\)"
    ):
        columns([*more, more[0]._replace(value=0.6)]).check_keys("here")


def test_joined_columns_keep_every_value_under_its_name_and_each_part_is_an_execution() -> None:
    first, second = columns([Row(0, 1, 1, None, "a", 1.0)]), columns([Row(1, 1, 1, None, "b", 2.0), Row(1, 1, 1, None, "a", 3.0)])
    joined = Columns.joined([first, second])
    assert [(joined.names[code], value) for code, value in zip(joined.metric, joined.value, strict=True)] == [
        ("a", 1.0),
        ("b", 2.0),
        ("a", 3.0),
    ]
    assert joined.run.tolist() == [0, 1, 1]


def test_evaluations_within_tasks_are_a_seeds_own_without_what_was_not_measured() -> None:
    rows = [
        Row(0, 0, 1, 8, "accuracy_within", 0.5),
        Row(0, 0, 1, 16, "accuracy_within", None),
        Row(3, 0, 1, 8, "accuracy_within", 0.1),
    ]
    found = within(columns(rows), 0)
    assert found is not None
    assert (found.samples_seen.tolist(), found.accuracy.tolist()) == ([8], [0.5])
    assert within(columns(rows), 7) is None


def test_metrics_are_derived_for_each_seed_and_a_null_has_its_first_reason() -> None:
    derived = derive(columns(WHOLE), (0, 3), 2)
    assert derived[0]["forgetting"].value == pytest.approx(0.3)
    assert derived[3]["average_accuracy"].value == pytest.approx((0.7 + 0.95) / 2)
    nulls = null_metrics(derived)
    assert "forgetting" not in nulls
    assert nulls["min_accuracy"].startswith("needs")
