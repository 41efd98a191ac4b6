"""What figures hold of what was measured."""

from __future__ import annotations

import re

import numpy as np
from pages import panels
from synthetic_records import make_record, matrix, windowed

from nlbench.comparison import compare
from nlbench.reporting import report
from nlbench.reporting.figures import _interval, _mean_of_seen, _within


def test_mean_of_seen_tasks():
    R = np.ma.array([[[0.9, 0.8], [1.0, 0.2], [0.6, 0.8]]])
    assert _mean_of_seen(R).tolist() == [[None, 1.0, 0.7]]
    R[0, 2, 0] = np.ma.masked
    assert _mean_of_seen(R).tolist() == [[None, 1.0, None]]


def test_interval_over_seeds_stays_within_shares():
    mean, low, high = _interval(np.ma.masked_invalid([[0.0, 0.5, np.nan], [1.0, 0.5, np.nan]]))
    assert mean[:2].tolist() == [0.5, 0.5]
    assert (low[:2].tolist(), high[:2].tolist()) == ([0.0, 0.5], [1.0, 0.5])
    assert np.isnan([mean[2], low[2], high[2]]).all()


def test_within_curves_are_means_over_seeds(records):
    group = next(group for group in compare(records).groups if group.stream == "split-digits")
    curves = _within(next(entry for entry in group.entries if entry.label == "mlp"))
    samples, accuracy = curves[2]
    assert samples.tolist() == [16 * number for number in range(6, 30)]
    assert np.allclose(accuracy, np.repeat([0.9, 0.8, 0.7, 0.6], 6))


def test_what_was_not_measured_leaves_no_mark(tmp_path):
    final = np.ma.masked_all((31, 30))
    final[-1] = 0.5
    record = make_record(tmp_path / "a.parquet", {0: final, 2: final})
    page = report(compare([record]), tmp_path / "report.html")[0].read_text(encoding="utf-8")
    assert "Tasks 1, 8, 15, 22, 29 of 30." in page
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)
    one = make_record(tmp_path / "b.parquet", {0: np.array([[0.1], [0.9]])})
    assert len(panels(report(compare([one]), tmp_path / "b.html")[0].read_text(encoding="utf-8"), "forgetting")) == 1


def test_a_window_of_one_task_speaks_of_forgetting_first(tmp_path):
    record = make_record(tmp_path / "a.parquet", {s: windowed(matrix(0.6, 0.9)) for s in (0, 2)})
    page = report(compare([record]), tmp_path / "report.html")[0].read_text(encoding="utf-8")
    assert "average accuracy 0.660 ± 0.000, forgetting first 0.300 ± 0.000" in page
    assert "(1/(T−1)) Σ_{j&lt;T} (R[j,j] − R[T,j])" in page
