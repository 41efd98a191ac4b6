"""Metrics of evaluations within tasks, on curves worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nlbench.errors import NotFiniteError
from nlbench.metrics import Within, compute
from nlbench.metrics.within import WINDOW


def evaluations(rows: list[tuple[int, int, int, float]]) -> Within:
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
    values = compute(TWO_TASKS, evaluations(STREAM))
    assert values["min_accuracy"].value == pytest.approx(0.2)  # .05 at sample 110 is the end of task 1, not after it
    assert values["worst_case_accuracy"].value == pytest.approx(0.95 / 2 + 0.2 / 2)


def test_windowed_changes() -> None:
    values = compute(TWO_TASKS, evaluations(STREAM))
    # task 1: .5 … .90, .05, .2, .7, .8 drops .90 → .05 and rises .05 → .8; task 2 only rises, by .45 in 10 evaluations
    assert values["windowed_forgetting"].value == pytest.approx((0.85 + 0) / 2)
    assert values["windowed_plasticity"].value == pytest.approx((0.75 + 0.45) / 2)


def test_a_fall_wider_than_the_window_is_not_seen_whole() -> None:
    slow = [(0, 1, 10 * b, 0.9 - 0.05 * b) for b in range(16)]
    assert compute(np.array([[0.5], [0.9]]), evaluations(slow))["windowed_forgetting"].value == pytest.approx(0.05 * (WINDOW - 1))


def test_learning_curve_area() -> None:
    values = compute(TWO_TASKS, evaluations(STREAM[::-1]))  # in any order
    assert values["learning_curve_area"].value == pytest.approx(((0.5 + 0.2) + (0.4 + 0.25)) / 2)


@pytest.mark.parametrize(
    "rows",
    [LEARNING_1[1:] + LEARNING_2, LEARNING_1 + LEARNING_2[:-1], LEARNING_1[:4] + LEARNING_1[5:] + LEARNING_2, LEARNING_2],
    ids=["no batch 0", "nine batches", "a batch left out", "no first task"],
)
def test_learning_curve_area_needs_each_of_the_first_batches(rows: list[tuple[int, int, int, float]]) -> None:
    value = compute(TWO_TASKS, evaluations([*rows, (1, 1, 300, 0.4), (1, 2, 310, 0.4), (2, 2, 400, 0.5)]))["learning_curve_area"]
    assert value.value is None
    assert "batches 0..10" in value.reason


def test_metrics_within_tasks_are_null_without_evaluations() -> None:
    for name in ("min_accuracy", "worst_case_accuracy", "windowed_forgetting", "windowed_plasticity", "learning_curve_area"):
        assert compute(TWO_TASKS)[name].value is None
        assert "accuracy_within" in compute(TWO_TASKS)[name].reason
    partial = compute(TWO_TASKS, evaluations(LEARNING_1))
    assert partial["min_accuracy"] == (None, "needs evaluations of task 1 after its end")
    assert partial["windowed_plasticity"].value is None


def test_nan_within_tasks_is_an_error() -> None:
    with pytest.raises(NotFiniteError):
        compute(TWO_TASKS, evaluations([*STREAM, (2, 1, 230, float("nan"))]))


# Three tasks of 100 samples; the second is as good as the first was (.95 of .9) after 60 samples, the third never (.95 of .88).
CHANGES = [
    *[(0, 1, 0, 0.1), (1, 1, 100, 0.9)],
    *[(1, 2, 100, 0.1), (1, 2, 120, 0.5), (1, 2, 160, 0.86), (1, 2, 180, 0.8), (2, 2, 200, 0.88)],
    *[(2, 3, 200, 0.2), (2, 3, 250, 0.3), (3, 3, 300, 0.83), (2, 2, 250, 0.9), (3, 1, 300, 0.9), (3, 2, 300, 0.9)],
]
THREE_TASKS = np.full((4, 3), 0.5)


def test_recovery_is_the_share_of_a_task_until_its_accuracy_is_that_of_the_task_before() -> None:
    assert compute(THREE_TASKS, evaluations(CHANGES[::-1]), shared=True)["recovery_time"].value == pytest.approx((0.6 + 1.0) / 2)
    at_once = [(after, on, seen, 0.9) for after, on, seen, _ in CHANGES]
    assert compute(THREE_TASKS, evaluations(at_once), shared=True)["recovery_time"].value == 0


@pytest.mark.parametrize("lacks", [(1, 1, 100), (1, 2, 100), (3, 3, 300)])
def test_recovery_needs_each_task_from_its_start_to_its_end(lacks: tuple[int, int, int]) -> None:
    left = [row for row in CHANGES if row[:3] != lacks and (row[:2] != lacks[:2] or lacks != (1, 2, 100))]
    value = compute(THREE_TASKS, evaluations(left), shared=True)["recovery_time"]
    assert value.value is None
    assert "from its start to its end" in value.reason


def test_prequential_accuracy_weighs_by_samples() -> None:
    value = compute(TWO_TASKS, prequential=(np.array([0.5, 1.0]), np.array([300, 100])))["prequential_accuracy"]
    assert value.value == pytest.approx(0.625)
    assert compute(TWO_TASKS)["prequential_accuracy"].value is None
