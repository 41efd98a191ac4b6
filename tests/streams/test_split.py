from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from small_streams import CPU, declared_stream

import nlbench
from nlbench.errors import DataError, SpecError
from nlbench.sources.pixels import DIGITS
from nlbench.streams.building import build
from nlbench.streams.stream import Samples

TASKS = range(1, 6)


def images(samples: Samples, seed_index: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, labels = samples.take(torch.arange(len(samples))[None])
    return inputs[min(seed_index, len(inputs) - 1)], labels[min(seed_index, len(labels) - 1)]


@cache
def digit_of() -> dict[bytes, int]:
    arrays = DIGITS.read()
    pixels = np.concatenate([arrays.train_inputs, arrays.test_inputs])
    labels = [*arrays.train_labels, *arrays.test_labels]
    return {np.rint(x * 16).astype(np.uint8).tobytes(): int(y) for x, y in zip(pixels, labels, strict=True)}


def class_of(inputs: torch.Tensor) -> list[int]:
    """Return the digit that each standardised image shows, found by its pixels in the data set."""
    facts = DIGITS
    return [digit_of()[np.rint((x * facts.std + facts.mean) * 16).astype(np.uint8).tobytes()] for x in inputs.double().numpy()]


@pytest.mark.parametrize(
    ("scenario", "n_classes", "labels_of_task_2"), [("class-il", 10, {2, 3}), ("task-il", 10, {2, 3}), ("domain-il", 2, {0, 1})]
)
def test_scenarios_differ_in_labels_and_logits_only(scenario: str, n_classes: int, labels_of_task_2: set[int]) -> None:
    stream = declared_stream("split", tasks=5, scenario=scenario)
    assert stream.n_classes == n_classes
    for part in (stream.train, stream.test):
        inputs, labels = images(part(2))
        assert set(labels.tolist()) == labels_of_task_2
        assert class_of(inputs) == [label + 2 if scenario == "domain-il" else label for label in labels.tolist()]
    expected = [True] * 2 if scenario == "domain-il" else [False, False, True, True, *[False] * 6]
    assert stream.task_classes(2).tolist() == expected


def test_tasks_share_the_data_set_out_without_loss_or_overlap() -> None:
    stream, arrays = declared_stream("split", tasks=5), DIGITS.read()
    for part, labels in ((stream.train, arrays.train_labels), (stream.test, arrays.test_labels)):
        rows = [part(task).rows[0] for task in TASKS]
        assert sorted(torch.cat(rows).tolist()) == list(range(len(labels)))
        assert [len(row) for row in rows] == [int(np.isin(labels, [2 * i, 2 * i + 1]).sum()) for i in range(5)]


def test_training_images_are_standardised_with_the_training_sets_constants() -> None:
    stream = declared_stream("split", tasks=1)
    everything = stream.train(1).inputs.double()
    assert everything.mean().item() == pytest.approx(0, abs=1e-6)
    assert everything.std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_blocks_without_copies_are_the_samples_that_take_gathers() -> None:
    natural = declared_stream("split", tasks=5)
    quota = declared_stream("split", tasks=5, train_quota=20, test_quota=11)
    assert natural.test(3).start is not None
    for stream in (natural, quota):
        for samples in (stream.test(3), stream.train(3)):
            expected, labels = images(samples)
            blocks = list(samples.blocks(7))
            assert torch.equal(torch.cat([inputs[0] for inputs, _ in blocks]), expected)
            assert torch.equal(torch.cat([found[0] for _, found in blocks]), labels)


def test_class_order_by_seed_permutes_classes_and_keeps_tasks_equal_in_size() -> None:
    seeds = [0, 1, 2]
    stream = declared_stream("split", seeds, tasks=5, class_order="seed", train_quota=30, test_quota=12)
    orders = []
    for index in range(3):
        order: list[int] = []
        for task in TASKS:
            inputs, labels = images(stream.train(task), index)
            shown = class_of(inputs)
            assert len(shown) == 60
            pairs = sorted(set(zip(labels.tolist(), shown, strict=True)))
            assert [label for label, _ in pairs] == [
                2 * task - 2,
                2 * task - 1,
            ]  # a label is a position in the seed's class order
            order += [digit for _, digit in pairs]
            test_inputs, test_labels = images(stream.test(task), index)
            assert sorted(set(zip(test_labels.tolist(), class_of(test_inputs), strict=True))) == pairs
            assert len(test_labels) == 24
        assert sorted(order) == list(range(10))
        orders.append(tuple(order))
    assert len(set(orders)) == 3
    alone = declared_stream("split", [2], tasks=5, class_order="seed", train_quota=30, test_quota=12)
    assert torch.equal(images(alone.train(4))[0], images(stream.train(4), 2)[0])


def test_a_quota_beyond_the_data_names_the_most_there_is() -> None:
    most = int(np.bincount(DIGITS.read().test_labels).min())
    declared_stream("split", tasks=5, train_quota=10, test_quota=most)
    with pytest.raises(SpecError, match=f"at most {most} samples per class, got {most + 1}"):
        declared_stream("split", tasks=5, train_quota=10, test_quota=most + 1)


def test_sizes_deal_out_unequal_tasks_in_the_order_that_is_written() -> None:
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    stream = declared_stream("split", sizes=[5, 3, 1, 1], class_order=order)
    assert stream.n_tasks == 4
    first = 0
    for task, size in enumerate([5, 3, 1, 1], 1):
        for part in (stream.train, stream.test):
            inputs, labels = images(part(task))
            assert class_of(inputs) == [order[label] for label in labels.tolist()]
            assert set(labels.tolist()) == set(range(first, first + size))
        assert stream.task_classes(task).nonzero().flatten().tolist() == list(range(first, first + size))
        first += size
    shared = declared_stream("split", sizes=[5, 3, 1, 1], scenario="domain-il")
    assert shared.n_classes == 5
    assert [int(shared.task_classes(task).sum()) for task in range(1, 5)] == [5, 3, 1, 1]
    assert set(images(shared.train(2))[1].tolist()) == {0, 1, 2}


def test_the_extreme_order_goes_from_each_class_to_the_nearest_that_is_left() -> None:
    stream = declared_stream("split", tasks=5, class_order="extreme")
    arrays = DIGITS.read()
    means = np.stack([arrays.train_inputs[arrays.train_labels == digit].mean(0).ravel() for digit in range(10)])
    order = stream.class_orders[0].tolist()
    assert sorted(order) == list(range(10))
    assert order != list(range(10))
    for place, digit in enumerate(order[:-1]):
        left = order[place + 1 :]
        assert np.argmin(np.linalg.norm(means[left] - means[digit], axis=1)) == 0


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ({"sizes": [5, 4]}, r"stream\.sizes: must add up to the 10 classes of digits, got 9"),
        ({"sizes": [5, 5], "tasks": 3}, r"stream\.sizes: must be one for each of the 3 tasks, got 2"),
        ({"tasks": 5, "class_order": [0, 1]}, r"stream\.class_order: must hold the 10 classes of digits, got 2"),
        (
            {"tasks": 5, "class_order": [0] * 10},
            r'class_order: must be "natural", "seed", "extreme", or every class once',
        ),
        ({"tasks": 5, "class_order": "sead"}, r"stream\.class_order: must be .*got 'sead'"),
        ({"tasks": 3}, r"stream\.tasks: must divide the 10 classes of digits, got 3; unequal tasks are written as sizes"),
    ],
)
def test_sizes_and_orders_that_do_not_fit_are_refused_by_name(stream: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        declared_stream("split", **stream)


def test_a_task_without_a_test_sample_is_refused(tmp_path: Path) -> None:
    """A class of two samples has no test sample of its own."""
    labels = np.r_[np.zeros(30, int), [1, 1]]
    np.savez(tmp_path / "rare.npz", inputs=np.arange(64.0).reshape(32, 2), labels=labels)
    stream = nlbench.resolve("mlp", str(tmp_path / "rare.npz"), seeds=1, overrides={"stream.tasks": "2"}).declared
    with pytest.raises(DataError, match=r"task 2 has no samples to be learned, or none to be judged\. Deal"):
        build(stream, (0,), CPU)


def test_the_extreme_order_of_a_class_without_training_samples_is_refused(tmp_path: Path) -> None:
    x, y = np.arange(16.0).reshape(8, 2), np.array(["ape", "bee"] * 4)
    path = tmp_path / "few.npz"
    np.savez(path, train_inputs=x, train_labels=y, test_inputs=x, test_labels=np.array(["ape", "bee", "cow", "ape"] * 2))
    with pytest.raises(DataError, match=r"few: each class must have training samples .* got none of class cow\. Leave"):
        declared_stream("split", source=str(path), tasks=1, class_order="extreme")
