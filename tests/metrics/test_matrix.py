"""Metrics of the accuracy matrix: the golden matrix to 1e-12, and what must hold of any."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nlbench import metrics
from nlbench.errors import NlbenchError, NotFiniteError
from nlbench.metrics import METRICS, compute

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


def test_gain_is_what_tasks_are_learned_better_by_than_by_a_twin_that_starts_anew() -> None:
    reset = GOLDEN.copy()
    np.fill_diagonal(reset[1:], 0.9)
    assert metrics.gain(GOLDEN, reset) == pytest.approx(0.9175 - 0.9, abs=1e-12)
    assert metrics.gain(reset, GOLDEN) == -metrics.gain(GOLDEN, reset)
    assert metrics.gain(GOLDEN, GOLDEN) == 0


def test_gap_without_a_gap_is_not_measured() -> None:
    with pytest.raises(metrics.NotMeasuredError, match="joint"):
        metrics.gap_closed(GOLDEN, GOLDEN, GOLDEN)


@settings(deadline=None)
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


@settings(deadline=None)
@given(matrices)
def test_sign_conventions_and_ranges(R: np.ndarray) -> None:
    values = {name: value.value for name, value in compute(R).items() if value.value is not None}
    assert values["forgetting_first"] == -values["backward_transfer"]
    assert values["forgetting"] >= values["forgetting_first"] - 1e-12  # the maximum includes R[j,j]
    assert values["forgetting_worst"] >= values["forgetting"] - 1e-12
    for name, value in values.items():
        low, high = METRICS[name].range
        assert low - 1e-12 <= value <= high + 1e-12


@settings(deadline=None)
@given(matrices, st.floats(0.01, 1))
def test_losing_an_old_task_raises_forgetting_and_lowers_backward_transfer(R: np.ndarray, loss: float) -> None:
    worse = R.copy()
    worse[-1, 0] *= 1 - loss
    before, after = compute(R), compute(worse)
    lost = (R[-1, 0] - worse[-1, 0]) / (R.shape[1] - 1)
    assert after["forgetting"].value - before["forgetting"].value == pytest.approx(lost, abs=1e-12)
    assert after["backward_transfer"].value - before["backward_transfer"].value == pytest.approx(-lost, abs=1e-12)


@settings(deadline=None)
@given(matrices, st.data())
def test_nan_and_infinity_are_errors(R: np.ndarray, data: st.DataObject) -> None:
    at = (data.draw(st.integers(0, R.shape[0] - 1)), data.draw(st.integers(0, R.shape[1] - 1)))
    R[at] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with pytest.raises(NotFiniteError):
        compute(R)
    for name in OF_MATRIX:
        with pytest.raises(NotFiniteError):
            METRICS[name].function(R)


@settings(deadline=None)
@given(matrices, st.data())
def test_inputs_are_never_changed(R: np.ndarray, data: st.DataObject) -> None:
    mask = data.draw(arrays.arrays(bool, R.shape))
    masked = np.ma.array(R, mask=mask)
    before, mask_before = R.copy(), mask.copy()
    compute(masked)
    np.testing.assert_array_equal(masked.data, before)
    np.testing.assert_array_equal(masked.mask, mask_before)


@settings(deadline=None)
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
