from __future__ import annotations

import numpy as np
import torch
from small_streams import running, small_stream, small_tasks

from nlbench.plan import stream_from_arrays


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
    stream = running(stream_from_arrays("s", [(x, [0, 1], x, [0, 5])]))
    assert stream.n_classes == 6
    assert stream.task_classes(1).tolist() == [True, True, False, False, False, True]


def test_inputs_are_float32_whatever_they_were() -> None:
    stream = running(stream_from_arrays("s", [(np.ones((2, 3), np.int64), [0, 1], [[1.0, 2.0, 3.0]], [1])]))
    assert stream.train(1).inputs.dtype == torch.float32
    assert stream.test(1).inputs.tolist() == [[1.0, 2.0, 3.0]]
