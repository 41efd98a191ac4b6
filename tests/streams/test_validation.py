"""A stream for tuning: parts of the training sets stand in for test sets, and no test sample is in it."""

from __future__ import annotations

import torch
from small_streams import running, small_stream, small_tasks

from nlbench.streams.validation import ValidationStream


def shown(samples):
    return {tuple(row.tolist()) for row in samples.take(torch.arange(len(samples))[None])[0].flatten(0, 1)}


def test_parts_are_disjoint_cover_the_training_set_and_leave_tests_alone():
    whole = running(small_stream(tasks=small_tasks(3, n_train=[40, 25, 10])), [0, 5])
    stream = ValidationStream(whole, 2, 0.2)
    assert (stream.n_tasks, stream.n_classes, stream.input_shape) == (2, whole.n_classes, whole.input_shape)
    for task, size in ((1, 40), (2, 25)):
        learned, judged = shown(stream.train(task)), shown(stream.test(task))
        assert not learned & judged
        assert learned | judged == shown(whole.train(task))
        assert not judged & shown(whole.test(task))
        assert len(judged) == round(0.2 * size)


def test_the_split_is_the_same_for_all_seeds_and_calls():
    first, second = (ValidationStream(running(small_stream(), seeds), 3, 0.25) for seeds in ([0], [7]))
    assert shown(first.test(2)) == shown(second.test(2))


def test_labels_go_with_their_samples():
    whole = running(small_stream(), [0])
    rows, classes = (each[0] for each in whole.train(1).take(torch.arange(40)[None]))
    known = {tuple(row.tolist()): int(label) for row, label in zip(rows, classes, strict=True)}
    inputs, labels = (each[0] for each in ValidationStream(whole, 1, 0.5).test(1).take(torch.arange(20)[None]))
    assert [known[tuple(row.tolist())] for row in inputs] == labels.tolist()
