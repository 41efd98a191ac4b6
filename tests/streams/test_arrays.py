from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_streams import CPU, running, small_stream, small_tasks

from nlbench.errors import DataError, SpecError
from nlbench.streams.arrays import from_arrays
from nlbench.streams.building import build


def test_arrays_come_out_as_they_went_in() -> None:
    tasks = small_tasks(2)
    stream = running(small_stream(tasks=tasks), [0, 1])
    assert (stream.n_tasks, stream.n_classes, stream.input_shape, stream.scenario) == (2, 4, (6,), "class-il")
    for number, (train, train_labels, test, test_labels) in enumerate(tasks, 1):
        assert np.array_equal(stream.train(number).inputs, train)
        assert np.array_equal(stream.train(number).labels[0], train_labels)
        assert np.array_equal(stream.test(number).inputs, test)
        assert np.array_equal(stream.test(number).labels[0], test_labels)
    assert stream.task_classes(2).tolist() == [False, False, True, True]
    assert running(small_stream(scenario="domain-il")).task_classes(2).tolist() == [True, True]


def test_classes_that_occur_only_in_the_test_set_have_logits() -> None:
    x = np.zeros((2, 3))
    stream = running(from_arrays("s", [(x, [0, 1], x, [0, 5])]))
    assert stream.n_classes == 6
    assert stream.task_classes(1).tolist() == [True, True, False, False, False, True]


def test_the_checksum_sees_every_array_its_shape_and_its_order() -> None:
    tasks = small_tasks(2)

    def checksum(changed: Any) -> str:
        return small_stream(tasks=changed).spec.stream.checksum

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
        from_arrays("s", [task])


def test_tasks_of_different_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"one shape, got \[\(2,\), \(3,\)\]"):
        from_arrays("s", [(X, Y, X, Y), (X[:, :2], Y, X[:, :2], Y)])


def test_protocol_values_are_checked_like_those_of_a_file() -> None:
    with pytest.raises(SpecError, match=r"stream s: protocol.pases: is not a known key \(did you mean passes\?\)"):
        from_arrays("s", [(X, Y, X, Y)], pases=2)
    with pytest.raises(SpecError, match=r"stream s: stream.tasks: must be greater than or equal to 1, got 0"):
        from_arrays("s", [])


@pytest.mark.parametrize("name", ["a/b", "", "../x", ".hidden"])
def test_a_name_that_cannot_be_part_of_a_file_name_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="stream name: must be usable as part of a file name"):
        from_arrays(name, [(X, Y, X, Y)])


def test_a_declaration_without_its_arrays_cannot_be_built() -> None:
    with pytest.raises(SpecError, match=r"pass the stream itself to nlbench\.run"):
        build("s", small_stream().spec, [0], CPU)


def test_inputs_are_float32_whatever_they_were() -> None:
    stream = running(from_arrays("s", [(np.ones((2, 3), np.int64), [0, 1], [[1.0, 2.0, 3.0]], [1])]))
    assert stream.train(1).inputs.dtype == torch.float32
    assert stream.test(1).inputs.tolist() == [[1.0, 2.0, 3.0]]
