from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from small_streams import small_tasks
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from nlbench.errors import DataError, NlbenchError, Remark
from nlbench.sources.in_memory import from_arrays


def test_the_checksum_sees_every_array_its_shape_and_its_order() -> None:
    tasks = small_tasks(2)

    def checksum(changed: Any) -> str:
        return from_arrays("s", changed).checksum

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


def test_numbers_that_float32_cannot_tell_apart_are_refused() -> None:
    far = 1.7e9 + np.arange(12.0).reshape(4, 3)
    with pytest.raises(DataError, match="task 1: train inputs differ by less than float32 can tell"):
        from_arrays("s", [(far, Y, X, Y)])
    from_arrays("s", [(far - far.mean(0), Y, X + 1.7e9, Y)])


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
        (
            (X, Y.astype(str), X, Y),
            r"task 1: train labels must be integers from 0, got <U.* numpy\.unique\(labels, .*\)\[1\]\. A data file",
        ),
        ((X.astype(str), Y, X, Y), "task 1: train inputs must be an array of numbers, got <U"),
        (([[1.0, 2.0], [3.0]], Y[:2], X, Y), "task 1: train inputs must be an array of numbers: "),
        ((X.astype(complex), Y, X, Y), "task 1: train inputs must be an array of numbers, got complex128"),
        ((X, Y, np.full((4, 3), 1e39), Y), "task 1: test inputs must be finite in float32"),
        ((X.astype(np.uint8), Y, X, Y), "task 1: train inputs are bytes, 0 to 255: .* Divide them by 255"),
        (
            (X, Y, np.zeros((4, 28, 28, 1)), Y),
            r"task 1: test inputs \(4, 28, 28, 1\) have their channels last\. .*\(0, 3, 1, 2\)",
        ),
        ((X, Y, np.zeros((4, 24, 32, 3)), Y), "task 1: test inputs .* have their channels last"),
        (7, "task 1: must be .train inputs, .*, or .train, test., got a int"),
        ((X, Y), r"task 1: train must be \(inputs, labels\) or a Dataset with a length, got a ndarray"),
        ({"train_inputs": X, "train_label": Y}, "unknown part of stream s, task 1 'train_label'. Did you mean train_labels"),
        ({"train_inputs": X, "train_labels": Y, "test_inputs": X}, "task 1: must be .*, got 3 parts"),
        ((X, Y, X), r"task 1: must be \(train inputs, train labels, test inputs, test labels\), or \(train, test\), got 3 parts"),
        ((X, Y, X, Y / 2), "task 1: test labels must be integers from 0, got float64"),
        ((X, Y, X + np.nan, Y), "task 1: test inputs must be finite, which those at index 0 are not. Fill what is missing"),
        ((X, Y, np.where(np.arange(4)[:, None] == 2, np.inf, X), Y), "must be finite, which those at index 2 are not"),
        ((X[0, 0], Y, X, Y), r"task 1: train must be inputs \(n, …\) with n >= 1 and labels \(n,\), got \(\) and \(4,\)"),
        ((np.ma.masked_equal(X, X[0, 0]), Y, X, Y), "task 1: train inputs must be .*: some of it is masked; fill it"),
        ((X, Y, X[:, :2], Y), r"stream s: all inputs must have one shape, got \[\(2,\), \(3,\)\]"),
    ],
)
def test_arrays_that_do_not_fit_name_the_task_the_rule_and_the_value(task: Any, rule: str) -> None:
    with pytest.raises(NlbenchError, match=rule) as caught:
        from_arrays("stream s", [task])
    assert "\n" not in str(caught.value)


def test_tasks_of_different_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"one shape, got \[\(2,\), \(3,\)\]"):
        from_arrays("stream s", [(X, Y, X, Y), (X[:, :2], Y, X[:, :2], Y)])


def test_no_task_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="stream s: must have at least one task"):
        from_arrays("stream s", [])


def test_arrays_are_copied_so_that_later_changes_reach_neither_data_nor_checksum() -> None:
    tasks = small_tasks(2)
    source, same = from_arrays("s", tasks), from_arrays("s", tasks).checksum
    for task in tasks:
        for array in task:
            array[:] = 0
    assert source.checksum == same
    assert source.tasks[0][0].any()
    assert source.tasks[1][1].any()


@pytest.mark.parametrize(
    "shown",
    [
        lambda x: x.astype(np.float16),
        lambda x: x.astype(np.float64)[::-1][::-1],
        lambda x: x[::-1].copy()[::-1],  # of negative strides
        lambda x: np.asfortranarray(x),
        lambda x: x.astype(np.int32),
        lambda x: x.tolist(),
        lambda x: torch.from_numpy(x).requires_grad_(),
        lambda x: torch.from_numpy(x).to(torch.bfloat16),
        lambda x: torch.from_numpy(x.T.copy()).T,
        lambda x: pandas.DataFrame(x),
    ],
)
def test_inputs_may_be_held_in_any_way(shown: Any) -> None:
    x, y = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([0, 1, 0, 1])
    for labels in (y, y.astype(np.uint8), y.tolist(), torch.from_numpy(y), y[::-1].copy()[::-1]):
        assert from_arrays("s", [(shown(x), labels, x, y)]).checksum == from_arrays("s", [(x, y, x, y)]).checksum


class Pairs(Dataset):
    def __init__(self, inputs: Any, labels: Any) -> None:
        self.inputs, self.labels = inputs, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        return self.inputs[index], int(self.labels[index])


class Endless(IterableDataset):
    def __iter__(self) -> Any:
        return iter(())


def test_a_task_may_be_a_mapping_pairs_or_datasets() -> None:
    (task,) = small_tasks(1)
    same = from_arrays("s", [task]).checksum
    train, test = task[:2], task[2:]
    names = ("train_inputs", "train_labels", "test_inputs", "test_labels")
    assert from_arrays("s", [dict(reversed(list(zip(names, task, strict=True))))]).checksum == same
    assert from_arrays("s", [(train, test)]).checksum == same
    assert from_arrays("s", ((TensorDataset(*map(torch.from_numpy, train)), Pairs(*test)) for _ in range(1))).checksum == same


class Labelled(Pairs):
    """Of Avalanche's shape: a task label stands behind each label."""

    def __getitem__(self, index: int) -> Any:
        return [*super().__getitem__(index), 3]


def test_a_task_label_behind_the_label_changes_nothing() -> None:
    (task,) = small_tasks(1)
    assert from_arrays("s", [(Labelled(*task[:2]), Labelled(*task[2:]))]).checksum == from_arrays("s", [task]).checksum


@pytest.mark.parametrize(
    ("part", "rule"),
    [
        (Endless(), r"task 1: train must be \(inputs, labels\) or a Dataset with a length, got a Endless"),
        (TensorDataset(torch.zeros(4, 3)), r"task 1: train, sample 0 must be \(input, label\), got a tuple of 1"),
        (TensorDataset(torch.zeros(4, 3), torch.zeros(4), torch.zeros(4)), r"must be \(input, label\), got a tuple of 3"),
        (Pairs([np.zeros(3), np.zeros(2)], [0, 1]), "task 1: train must have samples of one shape"),
        (Pairs([], [0, 1]), "task 1: train raised IndexError: list index out of range"),
        (Pairs([], []), r"task 1: train must be inputs \(n, …\) with n >= 1"),
    ],
)
def test_datasets_that_do_not_fit_are_refused_in_one_line(part: Any, rule: str) -> None:
    with pytest.raises(NlbenchError, match=rule):
        from_arrays("stream s", [(part, (X, Y))])


def test_a_source_of_tasks_reads_as_one_data_set() -> None:
    tasks = small_tasks(3)
    source = from_arrays("s", tasks)
    arrays = source.read()
    assert (source.input_shape, source.n_classes, source.kind) == ((6,), 6, "vector")
    for part, name in enumerate(("train_inputs", "train_labels", "test_inputs", "test_labels")):
        assert np.array_equal(getattr(arrays, name), np.concatenate([task[part] for task in tasks]))


@pytest.mark.parametrize("label", [0, 1])
def test_one_label_in_all_tasks_is_refused(label: int) -> None:
    task = (X, np.full(4, label), X, np.full(4, label))
    with pytest.raises(DataError, match=f"stream s: must have two different labels at least, got {label} in every row"):
        from_arrays("stream s", [task, task])


def test_labels_that_are_tested_and_never_trained_are_told() -> None:
    with pytest.warns(Remark, match=r"^stream s: no task trains what test sets call 2, 3: nobody can have that right\.$"):
        from_arrays("stream s", [(X, Y, X, Y + 2), (X, Y, X, Y)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_arrays("stream s", [(X, Y, X, Y + 2), (X, Y + 2, X, Y)])
