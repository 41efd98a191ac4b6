"""Metrics as a file says them, and as its accuracies give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_records import make_record, matrix, metadata, rows_of, tampered, windowed

from nlbench.comparison import compare
from nlbench.errors import RecordError, UnknownNameError
from nlbench.metrics import METRICS, Metric, versions
from nlbench.records import Row, extend_record, read_record, read_records
from nlbench.records.schema import SCHEMA_VERSION

TWO = {0: matrix(0.6, 0.9), 3: matrix(0.7, 0.95)}


def test_metrics_within_tasks_are_derived_and_checked(tmp_path: Path) -> None:
    extra = [Row(0, 0, 1, 10 * b, "accuracy_within", 0.5 + 0.04 * b, 50) for b in range(11)]
    record = make_record(tmp_path / "r.parquet", {0: np.array([[0.5], [0.9]])}, extra=extra)
    assert record.metric("learning_curve_area")[0] == pytest.approx(0.7)
    bad = tampered(record.path, tmp_path / "bad.parquet", metric="learning_curve_area", value=0.71)
    with pytest.raises(RecordError, match=r"bad\.parquet: learning_curve_area of seed 0 is stored as 0\.71"):
        read_record(bad)


def test_prequential_accuracy_of_the_stream_is_derived_from_its_tasks(tmp_path: Path) -> None:
    extra = [Row(0, j - 1, j, None, "prequential_accuracy", j / 10, 100 * j) for j in range(1, 6)]
    record = make_record(tmp_path / "r.parquet", {0: TWO[0]}, extra=extra)
    assert record.metric("prequential_accuracy")[0] == pytest.approx(sum(j * j for j in range(1, 6)) / 10 / 15)


def test_of_a_learner_s_own_numbers_those_after_the_last_task_count(tmp_path: Path) -> None:
    extra = [Row(seed, j, None, None, "contexts", 10.0 * seed + j, None) for seed in TWO for j in (2, 5, 1)]
    record = make_record(tmp_path / "r.parquet", TWO, extra=extra)
    assert record.metric("contexts") == {0: 5.0, 3: 35.0}
    with pytest.raises(UnknownNameError, match=r"contextz"):
        record.metric("contextz")


def test_a_stored_metric_that_disagrees_names_the_file(tmp_path: Path) -> None:
    record = make_record(tmp_path / "r.parquet", TWO)
    bad = tampered(record.path, tmp_path / "bad.parquet", metric="forgetting", value=0.3 + 1e-6)
    for read in (read_record, lambda path: read_records([path])):
        with pytest.raises(RecordError, match=r"bad\.parquet: forgetting of seed 0"):
            read(bad)
    tampered(record.path, bad, metric="forgetting", value=0.3 + 1e-12)
    read_record(bad)


def test_metrics_of_another_version_are_recomputed_not_checked(tmp_path: Path) -> None:
    record = make_record(tmp_path / "r.parquet", TWO)
    of_schema_1 = {"metric_versions": 0, "schema_version": 1}  # one for all
    for said in ({"metric_versions": {**versions(), "forgetting": 0}}, of_schema_1):
        old = tampered(record.path, tmp_path / "old.parquet", metric="forgetting", value=0.99, **said)
        assert read_record(old).metric("forgetting") == pytest.approx({0: 0.3, 3: 0.25})
        assert read_records([old])[0][0].metric("forgetting") == pytest.approx({0: 0.3, 3: 0.25})
    same = tampered(record.path, tmp_path / "same.parquet", metric="forgetting", value=0.99)
    with pytest.raises(RecordError, match=r"same\.parquet: forgetting of seed 0 is stored as 0\.99"):
        read_records([same])


def best_of_task_1(accuracy: np.ndarray) -> np.ndarray:
    return np.ma.getdata(accuracy)[..., 0].max(-1)


def first_within(accuracy: np.ndarray, within: Any) -> float:
    return float(within.accuracy[0])


@pytest.mark.parametrize("schema", [1, SCHEMA_VERSION])
def test_a_metric_that_a_file_does_not_know_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: int) -> None:
    extra = [Row(seed, 0, 1, 10, "accuracy_within", 0.5, 50) for seed in TWO]
    record = make_record(tmp_path / "r.parquet", TWO, extra=extra)
    facts: dict[str, object] = {} if schema == SCHEMA_VERSION else {"schema_version": 1, "metric_versions": 1}
    path = tampered(record.path, tmp_path / "old.parquet", **facts)
    for name, needs, function in (("best", "accuracy", best_of_task_1), ("begun", "accuracy_within", first_within)):
        monkeypatch.setitem(METRICS, name, Metric(name, "", (0.0, 1.0), "higher", "here", needs, function))  # type: ignore[arg-type]
    for found in (read_record(path), read_records([path])[0][0]):
        assert found.metric("best") == {0: 0.9, 3: 0.95}
        assert found.metric("begun") == {0: 0.5, 3: 0.5}
        assert (found.reason("best"), found.reason("begun")) == ("", "")
        assert found.metric("forgetting") == pytest.approx({0: 0.3, 3: 0.25})
    assert compare([found]).groups[0].entries[0].estimates["best"].mean == pytest.approx(0.925)
    extend_record(read_record(path), rows=rows_of({5: TWO[0]}), metadata=metadata(seeds=[5], n_tasks=5, run="run-2"))
    again = read_record(path)
    assert again.footer.metric_versions == {name: 1 for name, metric in METRICS.items() if metric.needs != "references"}
    assert again.metric("best") == {0: 0.9, 3: 0.95, 5: 0.9}


def test_a_stored_null_is_computed_and_no_contradiction(tmp_path: Path) -> None:
    record = make_record(tmp_path / "r.parquet", TWO)
    path = tampered(record.path, tmp_path / "null.parquet", metric="forgetting", value=None)
    for found in (read_record(path), read_records([path])[0][0]):
        assert found.metric("forgetting") == pytest.approx({0: 0.3, 3: 0.25})
        assert found.reason("forgetting") == ""


def test_a_value_of_what_was_not_measured_is_a_contradiction(tmp_path: Path) -> None:
    record = make_record(tmp_path / "r.parquet", {0: windowed(matrix(0.6, 0.9))})
    path = tampered(record.path, tmp_path / "lie.parquet", metric="forgetting", value=0.1)
    with pytest.raises(RecordError, match=r"forgetting of seed 0 is stored as 0\.1, its accuracies give None"):
        read_records([path])
