"""A record in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic_records import make_record, matrix

from nlbench.errors import RecordError, UnknownNameError
from nlbench.records import Row

TWO = {0: matrix(0.6, 0.9), 3: matrix(0.7, 0.95)}


def test_values_by_seed_and_only_those_that_were_measured(tmp_path: Path) -> None:
    record = make_record(tmp_path / "r.parquet", {0: TWO[0], 3: np.ma.masked_array(TWO[3], np.eye(6, 5, -5, dtype=bool))})
    assert record.metric("average_accuracy") == {0: pytest.approx((4 * 0.6 + 0.9) / 5), 3: None}
    assert record.measured("average_accuracy") == {0: pytest.approx((4 * 0.6 + 0.9) / 5)}
    assert record.reason("average_accuracy") == "needs the last row, which the stream did not measure"
    assert record.metric("bytes.samples") == {0: None, 3: None}
    with pytest.raises(UnknownNameError, match=r"unknown metric 'forgeting'\. Did you mean forgetting"):
        record.metric("forgeting")


def test_of_a_value_at_several_times_the_last_counts(tmp_path: Path) -> None:
    extra = [Row(seed, task, None, None, "bytes.samples", 100.0 * task + seed) for seed in TWO for task in (5, 1)]
    record = make_record(tmp_path / "r.parquet", TWO, extra=extra)
    assert record.metric("bytes.samples") == {0: 500.0, 3: 503.0}
    assert record.bytes() == {"parameters": 1000.0, "samples": 501.5}


def test_seconds_of_all_tasks_are_summed(tmp_path: Path) -> None:
    extra = [Row(None, task, None, None, "seconds.evaluate", 0.5) for task in range(6)]
    assert make_record(tmp_path / "r.parquet", TWO, extra=extra, seconds=2.0).seconds() == {"train": 2.0, "evaluate": 3.0}


def test_a_seed_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    record = make_record(tmp_path / "r.parquet", TWO)
    np.testing.assert_array_equal(record.accuracy(3), TWO[3])
    with pytest.raises(RecordError, match=r"r\.parquet has no seed 1\. It has 0, 3\."):
        record.accuracy(1)


def test_rows_are_answered_whole_with_null_as_null(tmp_path: Path) -> None:
    rows = [Row(0, 0, 1, 8, "accuracy_within", None, 50), Row(0, 0, 1, 16, "accuracy_within", 0.5, 50)]
    record = make_record(tmp_path / "r.parquet", TWO, extra=rows)
    assert record.values("accuracy_within") == rows
    frame = record.to_pandas()
    assert len(frame) == record.table.num_rows
    assert frame[frame.metric == "seconds.train"].seed.isna().all()
    assert str(frame.seed.dtype) == "Int64"
