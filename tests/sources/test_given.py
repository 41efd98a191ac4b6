from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_streams import small_tasks

from nlbench.errors import DataError
from nlbench.sources.given import given


def test_the_checksum_sees_every_array_its_shape_and_its_order() -> None:
    tasks = small_tasks(2)

    def checksum(changed: Any) -> str:
        return given("s", changed).checksum

    same = checksum(tasks)
    assert checksum([tuple(array.copy() for array in task) for task in tasks]) == same
    others = {checksum(tasks[::-1])}
    for part in range(4):
        changed = [list(task) for task in tasks]
        changed[1][part] = changed[1][part].copy()
        changed[1][part][0] += 1
        others.add(checksum(changed))
    reshaped = [(train.reshape(-1, 2, 3), y, test.reshape(-1, 2, 3), z) for train, y, test, z in tasks]
    others.add(checksum(reshaped))
    assert len(others) == 6
    assert same not in others


X, Y = np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("task", "rule"),
    [
        (
            (X, Y[:3], X, Y),
            r"stream s, task 1: train must be inputs \(n, …\) with n >= 1 and labels \(n,\), got \(4, 3\) and \(3,\)",
        ),
        ((X, Y, X, Y[:, None]), "task 1: test must be inputs"),
        ((X[:0], Y[:0], X, Y), "task 1: train must be inputs"),
        ((X[:, 0], Y, X, Y), "task 1: train must be inputs"),
        ((X, Y - 1, X, Y), r"task 1: train labels must lie in 0\.\.99999, got -1 to "),
        ((X, np.where(Y == 0, 10**7, Y), X, Y), "task 1: train labels must lie in .* to 10000000"),
        ((X, Y.astype(str), X, Y), "task 1: train labels must be integers from 0, got <U"),
        ((X.astype(str) + "x", Y, X, Y), "task 1: train must be arrays of numbers: "),
        ((X, Y, X), "task 1: must be .train inputs, train labels, test inputs, test labels., got 3 parts"),
        ((X, Y, X, Y / 2), "task 1: test labels must be integers from 0, got float64"),
        ((X, Y, X + np.nan, Y), "task 1: test inputs must be finite"),
        ((X, Y, X[:, :2], Y), r"stream s: all inputs must have one shape, got \[\(2,\), \(3,\)\]"),
    ],
)
def test_arrays_that_do_not_fit_name_the_task_the_rule_and_the_value(task: Any, rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        given("stream s", [task])


def test_tasks_of_different_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"one shape, got \[\(2,\), \(3,\)\]"):
        given("stream s", [(X, Y, X, Y), (X[:, :2], Y, X[:, :2], Y)])


def test_no_task_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="stream s: must have at least one task"):
        given("stream s", [])


def test_a_source_of_tasks_reads_as_one_data_set() -> None:
    tasks = small_tasks(3)
    source = given("s", tasks)
    arrays = source.read()
    assert (source.input_shape, source.n_classes, source.kind) == ((6,), 6, "vector")
    for part, name in enumerate(("train_inputs", "train_labels", "test_inputs", "test_labels")):
        assert np.array_equal(getattr(arrays, name), np.concatenate([task[part] for task in tasks]))
