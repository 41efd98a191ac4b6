from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from synthetic_records import make_record, matrix

from nlbench import metrics
from nlbench.errors import NlbenchError, NotFiniteError, UnknownNameError
from nlbench.metrics import METRICS, Within, compute

GOLDEN = np.array(
    [(0.5,) * 4, (0.95, 0.40, 0.55, 0.60), (0.97, 0.90, 0.94, 0.65), (0.88, 0.80, 0.92, 0.96), (0.70, 0.91, 0.60, 0.90)]
)
GOLDEN_VALUES = {
    "average_accuracy": Fraction(311, 400),
    "average_incremental_accuracy": Fraction(847, 960),
    "learning_accuracy": Fraction(367, 400),
    "backward_transfer": Fraction(-14, 75),
    "forward_transfer": Fraction(4, 15),
    "forgetting": Fraction(1, 5),
    "forgetting_first": Fraction(14, 75),
    "forgetting_worst": Fraction(17, 50),
}
OF_MATRIX = [name for name, metric in METRICS.items() if metric.needs == "accuracy"]

shares = st.floats(0, 1, allow_nan=False)
matrices = st.integers(2, 6).flatmap(lambda T: arrays.arrays(np.float64, (T + 1, T), elements=shares))


@pytest.mark.parametrize(("name", "value"), GOLDEN_VALUES.items())
def test_golden_matrix(name: str, value: Fraction) -> None:
    assert compute(GOLDEN)[name].value == pytest.approx(float(value), abs=1e-12)


def test_the_golden_values_cover_every_metric_of_the_matrix() -> None:
    assert set(OF_MATRIX) == set(GOLDEN_VALUES)


def test_reference_metrics_on_the_golden_matrix() -> None:
    joint = GOLDEN.copy()
    np.fill_diagonal(joint[1:], 0.97)
    joint[-1] = 0.9
    naive = np.full((5, 4), 0.5)
    assert metrics.intransigence(GOLDEN, joint) == pytest.approx((3 * 0.97 + 0.9) / 4 - 0.9175, abs=1e-12)
    assert metrics.gap_closed(GOLDEN, naive, joint) == pytest.approx((0.7775 - 0.5) / (0.9 - 0.5), abs=1e-12)


def test_gap_without_a_gap_is_not_measured() -> None:
    with pytest.raises(metrics.NotMeasuredError, match="joint"):
        metrics.gap_closed(GOLDEN, GOLDEN, GOLDEN)


@given(matrices)
def test_perfect_memory_forgets_nothing(drawn: np.ndarray) -> None:
    R = drawn.copy()
    for task in range(R.shape[1]):
        R[1 : task + 1, task] = np.minimum(
            R[1 : task + 1, task], R[task + 1, task]
        )  # no zero-shot accuracy above the learned one
        R[task + 1 :, task] = R[task + 1, task]
    values = compute(R)
    for name in ("forgetting", "forgetting_first", "forgetting_worst", "backward_transfer"):
        assert values[name].value == pytest.approx(0, abs=1e-12)


@given(matrices)
def test_sign_conventions_and_ranges(R: np.ndarray) -> None:
    values = {name: value.value for name, value in compute(R).items() if value.value is not None}
    assert values["forgetting_first"] == -values["backward_transfer"]
    assert values["forgetting"] >= values["forgetting_first"] - 1e-12  # the maximum includes R[j,j]
    assert values["forgetting_worst"] >= values["forgetting"] - 1e-12
    for name, value in values.items():
        low, high = METRICS[name].range
        assert low - 1e-12 <= value <= high + 1e-12


@given(matrices, st.floats(0.01, 1))
def test_losing_an_old_task_raises_forgetting_and_lowers_backward_transfer(R: np.ndarray, loss: float) -> None:
    worse = R.copy()
    worse[-1, 0] *= 1 - loss
    before, after = compute(R), compute(worse)
    lost = (R[-1, 0] - worse[-1, 0]) / (R.shape[1] - 1)
    assert after["forgetting"].value - before["forgetting"].value == pytest.approx(lost, abs=1e-12)
    assert after["backward_transfer"].value - before["backward_transfer"].value == pytest.approx(-lost, abs=1e-12)


@given(matrices, st.data())
def test_nan_and_infinity_are_errors(R: np.ndarray, data: st.DataObject) -> None:
    at = (data.draw(st.integers(0, R.shape[0] - 1)), data.draw(st.integers(0, R.shape[1] - 1)))
    R[at] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with pytest.raises(NotFiniteError):
        compute(R)
    for name in OF_MATRIX:
        with pytest.raises(NotFiniteError):
            METRICS[name].function(R)


@given(matrices, st.data())
def test_inputs_are_never_changed(R: np.ndarray, data: st.DataObject) -> None:
    mask = data.draw(arrays.arrays(bool, R.shape))
    masked = np.ma.array(R, mask=mask)
    before, mask_before = R.copy(), mask.copy()
    compute(masked)
    np.testing.assert_array_equal(masked.data, before)
    np.testing.assert_array_equal(masked.mask, mask_before)


@given(matrices, st.data())
def test_a_masked_entry_gives_null_or_changes_nothing(R: np.ndarray, data: st.DataObject) -> None:
    at = (data.draw(st.integers(0, R.shape[0] - 1)), data.draw(st.integers(0, R.shape[1] - 1)))
    masked = np.ma.array(R.copy(), mask=False)
    masked[at] = np.ma.masked
    whole, partial = compute(R), compute(masked)
    for name in OF_MATRIX:
        if partial[name].value is None:
            assert "did not measure" in partial[name].reason
        else:
            assert partial[name].value == whole[name].value


def test_which_entries_a_metric_needs() -> None:
    """Masking everything a formula does not name changes nothing: an implementation that reads more is another metric."""
    T = 4
    rows, columns = np.mgrid[0 : T + 1, 1 : T + 1]
    needed = {
        "average_accuracy": rows == T,
        "average_incremental_accuracy": (columns <= rows) & (rows >= 1),
        "learning_accuracy": rows == columns,
        "forgetting": (rows >= 1) & (columns < T),
        "forgetting_worst": (rows >= 1) & (columns < T),
        "forgetting_first": ((rows == columns) | (rows == T)) & (columns < T),
        "backward_transfer": ((rows == columns) | (rows == T)) & (columns < T),
        "forward_transfer": ((rows == columns - 1) | (rows == 0)) & (columns >= 2),
    }
    for name, entries in needed.items():
        assert compute(np.ma.array(GOLDEN, mask=~entries))[name].value == pytest.approx(float(GOLDEN_VALUES[name]), abs=1e-12)
        for at in np.argwhere(entries):
            mask = ~entries
            mask[tuple(at)] = True
            assert compute(np.ma.array(GOLDEN, mask=mask))[name].value is None


def test_one_task_gives_null_with_its_reason() -> None:
    values = compute(np.array([[0.1], [0.9]]))
    assert values["average_accuracy"].value == values["learning_accuracy"].value == 0.9
    for name in ("forgetting", "forgetting_first", "forgetting_worst", "backward_transfer", "forward_transfer"):
        assert values[name] == (None, "needs 2 tasks, the stream has 1")


def test_a_stack_of_seeds_gives_each_seed_its_own_value() -> None:
    stack = np.stack([GOLDEN, GOLDEN[:, ::-1], np.full((5, 4), 0.5)])
    for name in OF_MATRIX:
        expected = [METRICS[name].function(R) for R in stack]
        np.testing.assert_allclose(METRICS[name].function(stack), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("bad", [np.full((4, 4), 0.5), np.full(4, 0.5), np.full((5, 4), 1.5), np.full((5, 4), -0.1)])
def test_what_is_not_an_accuracy_matrix_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(NlbenchError):
        compute(bad)


def _within(rows: list[tuple[int, int, int, float]]) -> Within:
    """Rows (after_task, on_task, samples_seen, accuracy)."""
    after, on, samples, values = zip(*rows, strict=True)
    return Within(np.array(after), np.array(on), np.array(samples), np.array(values))


# Two tasks of 110 samples in batches of 10. Task 1 falls to .2 inside task 2 and recovers: the stability gap.
LEARNING_1 = [(0, 1, 10 * b, 0.5 + 0.04 * b) for b in range(11)]
LEARNING_2 = [(1, 2, 110 + 10 * b, 0.4 + 0.05 * b) for b in range(11)]
OLD_1 = [(1, 1, 110, 0.05), (1, 1, 130, 0.2), (1, 1, 200, 0.7), (2, 1, 220, 0.8)]
STREAM = [*LEARNING_1, *LEARNING_2, *OLD_1, (2, 2, 220, 0.92)]
TWO_TASKS = np.array([[0.5, 0.4], [0.9, 0.4], [0.8, 0.95]])


def test_minimum_of_old_tasks_counts_only_what_follows_their_end() -> None:
    values = compute(TWO_TASKS, _within(STREAM))
    assert values["min_accuracy"].value == pytest.approx(0.2)  # .05 at sample 110 is the end of task 1, not after it
    assert values["worst_case_accuracy"].value == pytest.approx(0.95 / 2 + 0.2 / 2)


def test_windowed_changes() -> None:
    values = compute(TWO_TASKS, _within(STREAM))
    # task 1: .5 … .90, .05, .2, .7, .8 drops .90 → .05 and rises .05 → .8; task 2 only rises, by .45 in 10 evaluations
    assert values["windowed_forgetting"].value == pytest.approx((0.85 + 0) / 2)
    assert values["windowed_plasticity"].value == pytest.approx((0.75 + 0.45) / 2)


def test_a_fall_wider_than_the_window_is_not_seen_whole() -> None:
    slow = [(0, 1, 10 * b, 0.9 - 0.05 * b) for b in range(16)]
    assert compute(np.array([[0.5], [0.9]]), _within(slow))["windowed_forgetting"].value == pytest.approx(
        0.05 * (metrics.WINDOW - 1)
    )


def test_learning_curve_area() -> None:
    values = compute(TWO_TASKS, _within(STREAM[::-1]))  # in any order
    assert values["learning_curve_area"].value == pytest.approx(((0.5 + 0.2) + (0.4 + 0.25)) / 2)


@pytest.mark.parametrize(
    "rows",
    [LEARNING_1[1:] + LEARNING_2, LEARNING_1 + LEARNING_2[:-1], LEARNING_1[:4] + LEARNING_1[5:] + LEARNING_2, LEARNING_2],
    ids=["no batch 0", "nine batches", "a batch left out", "no first task"],
)
def test_learning_curve_area_needs_each_of_the_first_batches(rows: list[tuple[int, int, int, float]]) -> None:
    value = compute(TWO_TASKS, _within([*rows, (1, 1, 300, 0.4), (1, 2, 310, 0.4), (2, 2, 400, 0.5)]))["learning_curve_area"]
    assert value.value is None
    assert "batches 0..10" in value.reason


def test_metrics_within_tasks_are_null_without_evaluations() -> None:
    for name in ("min_accuracy", "worst_case_accuracy", "windowed_forgetting", "windowed_plasticity", "learning_curve_area"):
        assert compute(GOLDEN)[name].value is None
        assert "accuracy_within" in compute(GOLDEN)[name].reason
    partial = compute(TWO_TASKS, _within(LEARNING_1))
    assert partial["min_accuracy"] == (None, "needs evaluations of task 1 after its end")
    assert partial["windowed_plasticity"].value is None


def test_nan_within_tasks_is_an_error() -> None:
    with pytest.raises(NotFiniteError):
        compute(TWO_TASKS, _within([*STREAM, (2, 1, 230, float("nan"))]))


def test_prequential_accuracy_weighs_by_samples() -> None:
    value = compute(TWO_TASKS, prequential=(np.array([0.5, 1.0]), np.array([300, 100])))["prequential_accuracy"]
    assert value.value == pytest.approx(0.625)
    assert compute(TWO_TASKS)["prequential_accuracy"].value is None


def test_metrics_that_need_other_records_are_only_in_comparisons() -> None:
    assert {"intransigence", "gap_closed"} == set(METRICS) - set(compute(GOLDEN))


def test_every_metric_says_what_it_is() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.formula
        assert metric.source
        assert metric.function.__doc__
        assert metric.range[0] < metric.range[1]


PLUGIN = '''
import numpy as np

from nlbench.metrics import Metric


def last_accuracy(accuracy):
    """R[T,T]: the accuracy on the last task at the end, in [0, 1]."""
    return np.asarray(accuracy)[..., -1, -1]


LAST = Metric("last_accuracy", "R[T,T]", (0.0, 1.0), "higher", "a user", "accuracy", last_accuracy)
TAKEN = Metric("forgetting", "R[T,T]", (0.0, 1.0), "higher", "a user", "accuracy", last_accuracy)
REFERRING = Metric("mine", "R[T,T]", (0.0, 1.0), "higher", "a user", "references", last_accuracy)
'''


def test_a_metric_of_a_file_is_compared_like_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(metrics, "METRICS", dict(metrics.METRICS))
    assert metrics.known("./plugin.py:LAST") == "last_accuracy" == metrics.known("last_accuracy")
    assert metrics.compute(np.full((3, 2), 0.25))["last_accuracy"].value == 0.25
    for name, rule in [("TAKEN", "must have a name of its own, got 'forgetting'"), ("REFERRING", "must need no other record")]:
        with pytest.raises(NlbenchError, match=rule):
            metrics.known(f"./plugin.py:{name}")
    with pytest.raises(NlbenchError, match=r"plugin\.py:last_accuracy: must be a nlbench.metrics.Metric"):
        metrics.known("./plugin.py:last_accuracy")
    with pytest.raises(UnknownNameError, match=r"unknown metric 'forgeting'. Did you mean forgetting"):
        metrics.known("forgeting")


def test_a_registered_metric_is_listed_and_computed_of_records_that_never_knew_it(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "plugin-1.0.dist-info").mkdir()
    (tmp_path / "plugin-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (tmp_path / "plugin-1.0.dist-info/entry_points.txt").write_text("[nlbench.metrics]\nlast_accuracy = plugin:LAST\n")
    make_record(tmp_path / "r.parquet", {0: matrix(0.5, 0.75), 1: matrix(0.5, 0.75)})
    code = (
        "from nlbench import api; "
        "print([metric.name for metric in api.listing('metrics').metrics][-1], "
        "api.load('r.parquet')[0].metric('last_accuracy'), "
        "api.compare(['r.parquet'], metrics=['last_accuracy']).groups[0].metrics)"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(metrics.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout.strip() == "last_accuracy {0: 0.75, 1: 0.75} ('last_accuracy',)", done.stderr


def test_where_tasks_contradict_each_other_metrics_of_the_past_are_null_with_that_reason() -> None:
    R = np.full((4, 3), 0.5)
    usual, contradicting = compute(R), compute(R, conflict=True)
    assert {name for name, value in contradicting.items() if usual[name].value != value.value} == {
        name for name in metrics.OF_THE_PAST if name in usual and usual[name].value is not None
    }
    assert contradicting["learning_accuracy"].value == 0.5
    assert contradicting["forgetting"].reason.startswith("tasks contradict each other")
    assert metrics.measure(METRICS["gap_closed"], (R, R, R), conflict=True).reason.startswith("tasks contradict each other")
    measured = {"learning_accuracy", "prequential_accuracy"}
    assert metrics.with_stand_in(("average_accuracy", "forgetting"), measured.__contains__) == (
        "prequential_accuracy",
        "forgetting",
    )
