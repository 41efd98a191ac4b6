"""What counts as the same numbers: equal, but for rounding, different."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from altered_records import altered
from synthetic_records import make_record, matrix

from nlbench.comparison.reproduction import SAMPLES, SHARE, reproduction
from nlbench.errors import RecordError
from nlbench.records import Record, Row


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Two seeds whose accuracies are of 100 samples a task."""
    made = make_record(
        tmp_path / "made.parquet", {0: matrix(0.5, 0.9), 1: matrix(0.6, 0.9)}, extra=[Row(0, 1, None, None, "rate", 2.0)]
    )
    return altered(made, tmp_path / "record.parquet", lambda row: row._replace(n=100) if row.metric == "accuracy" else row)


def test_the_same_rows_are_equal_whatever_the_times(record, tmp_path):
    slower = altered(record, tmp_path / "b.parquet", lambda row: row._replace(value=9.0) if row.seed is None else row)
    found = reproduction(record, slower, (0, 1))
    assert (found.sameness, found.deviations, found.facts) == ("equal", (), ())
    assert found.values > 2 * 30


@pytest.mark.parametrize(
    ("samples", "sameness"), [(1, "within rounding"), (SAMPLES, "within rounding"), (SAMPLES + 1, "different")]
)
def test_a_share_may_differ_by_samples_on_the_edge(record, tmp_path, samples, sameness):
    def change(row: Row) -> Row:
        moved = row.metric == "accuracy" and (row.seed, row.after_task, row.on_task) == (1, 2, 1)
        return row._replace(value=row.value - samples / 100) if moved else row

    found = reproduction(record, altered(record, tmp_path / "b.parquet", change), (0, 1))
    assert found.sameness == sameness
    assert {one.seed for one in found.deviations} == {1}
    accuracy = next(one for one in found.deviations if one.metric == "accuracy")
    assert (accuracy.differing, accuracy.of) == (1, 30)
    assert accuracy.largest == pytest.approx(samples / 100)


def test_single_samples_everywhere_move_a_metric_too_far(record, tmp_path):
    assert SHARE < 1 / 100
    change = lambda row: row._replace(value=row.value + 0.01) if row.metric == "accuracy" and row.seed == 0 else row  # noqa: E731
    found = reproduction(record, altered(record, tmp_path / "b.parquet", change), (0, 1))
    said = {one.metric: one.rounding for one in found.deviations}
    assert said["accuracy"]
    assert not said["average_accuracy"]
    assert found.sameness == "different"
    assert reproduction(record, altered(record, tmp_path / "c.parquet", change), (1,)).sameness == "equal"  # it was not looked at


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row._replace(value=row.value * 1.02) if row.metric == "bytes.parameters" and row.seed == 0 else row,
        lambda row: row._replace(value=0.4) if row.metric == "chance" and row.on_task == 1 and row.seed == 0 else row,
        lambda row: row._replace(n=200) if row.metric == "accuracy" and row.seed == 0 else row,
        lambda row: row._replace(value=2.1) if row.metric == "rate" else row,
        lambda row: row._replace(metric="another") if row.metric == "rate" else row,
    ],
    ids=["bytes", "chance", "n", "own-number", "own-name"],
)
def test_what_rounding_cannot_move_differs(record, tmp_path, change):
    assert reproduction(record, altered(record, tmp_path / "b.parquet", change), (0, 1)).sameness == "different"


def test_bytes_and_own_numbers_may_round(record, tmp_path):
    def change(row: Row) -> Row:
        return row._replace(value=row.value * 1.005) if row.metric in ("rate", "bytes.parameters") else row

    assert reproduction(record, altered(record, tmp_path / "b.parquet", change), (0, 1)).sameness == "within rounding"


def test_facts_beside_the_fingerprint_count(record, tmp_path):
    other = make_record(tmp_path / "b.parquet", {0: matrix(0.5, 0.9), 1: matrix(0.6, 0.9)}, role="joint")
    assert any(fact.startswith("role: ") for fact in reproduction(record, other, (0,)).facts)


def test_a_seed_that_is_not_there_is_refused(record):
    with pytest.raises(RecordError, match="has no seed 7"):
        reproduction(record, record, (7,))
    assert np.isfinite(reproduction(record, record, (0,)).values)
