from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from small_streams import declared_stream, running, small_stream, small_tasks

from nlbench.streams import stream as streams


@pytest.mark.parametrize("ahead", [1, 2], ids="gather {} batches".format)
def test_batches_show_every_sample_once_in_the_drawn_order_and_keep_the_short_last_one(
    ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(streams.AHEAD, "cpu", ahead)
    stream = running(small_stream(tasks=small_tasks(1, n_train=21)), [0, 1])
    samples = stream.train(1)
    order = stream.presentation("1/0", 21)
    batches = list(samples.batches(order, 8))
    assert [labels.shape for _, labels in batches] == [(2, 8), (2, 8), (2, 5)]
    for index in range(2):
        inputs = torch.cat([x[index] for x, _ in batches])
        labels = torch.cat([y[index] for _, y in batches])
        assert torch.equal(inputs, samples.inputs[order[index]])
        assert torch.equal(labels, samples.labels[0, order[index]])
        assert sorted(order[index].tolist()) == list(range(21))
    assert not torch.equal(order[0], order[1])
    assert not torch.equal(order, stream.presentation("1/1", 21))


def test_batches_of_permuted_images_are_the_same_however_many_are_gathered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = declared_stream("permuted", [0, 1, 2], tasks=3)
    samples = stream.ordered(stream.train(2), 2)
    order = stream.presentation("2/0", 100)
    alone = list(samples.batches(order, 8))
    monkeypatch.setitem(streams.AHEAD, "cpu", 5)
    together = list(samples.batches(order, 8))
    assert len(alone) == len(together) == 13
    for (inputs, labels), (others, theirs), start in zip(alone, together, range(0, 100, 8), strict=True):
        assert torch.equal(inputs, others)
        assert torch.equal(labels, theirs)
        wanted, _ = samples.take(order[:, start : start + 8])
        assert torch.equal(inputs, wanted)


def test_a_seed_is_presented_the_same_alone_as_among_ten() -> None:
    among, alone = (declared_stream("split", seeds, tasks=5) for seeds in (range(10), [3]))
    assert torch.equal(among.presentation("2/0", 100)[3], alone.presentation("2/0", 100)[0])


def test_logits_that_compete() -> None:
    def competing(space: str | None, scenario: str, seen: int, task: int) -> list[int]:
        protocol = {"output_space": space} if space else {}
        stream = running(small_stream(scenario=scenario, **protocol))
        return stream.competing(seen, task).nonzero().flatten().tolist()

    assert competing("all", "class-il", 1, 2) == competing(None, "class-il", 0, 1) == [0, 1, 2, 3, 4, 5]
    assert competing("seen", "class-il", 2, 1) == competing("seen", "class-il", 2, 3) == [0, 1, 2, 3]
    assert competing("seen", "class-il", 0, 1) == [0, 1, 2, 3, 4, 5]  # before any task all compete
    assert competing(None, "task-il", 3, 2) == competing("task", "task-il", 1, 2) == [2, 3]
    assert competing(None, "domain-il", 1, 3) == [0, 1]


def test_chance_is_the_share_of_the_best_constant_label_of_the_test_set() -> None:
    train, _, test, _ = small_tasks(1, n_test=10)[0]
    stream = running(small_stream(tasks=[(train, [0, 1] * 20, test, [2, 2, 2, 2, 2, 2, 0, 0, 0, 1])]), [0, 1])
    assert stream.chance(1).tolist() == [0.6, 0.6]
    assert stream.chance(1).dtype == torch.float64


@pytest.mark.parametrize(
    ("scenario", "classes", "expected"),
    [
        ("domain-il", [[0, 1, 1, 1], [0, 0, 0, 1]], 0.5),  # each label's shares are .25 and .75
        ("class-il", [[0, 0, 0, 1], [2, 3]], 0.375),  # one label of six: .75 of half of the stream, whatever the sizes of tasks
        ("task-il", [[0, 0, 0, 1], [2, 3]], 0.625),  # the task is told: (.75 + .5) / 2
    ],
)
def test_chance_of_all_is_the_average_accuracy_of_the_best_constant_answer(
    scenario: str, classes: list[list[int]], expected: float
) -> None:
    tasks = [
        (np.zeros((len(labels), 6), np.float32), labels, np.ones((len(labels), 6), np.float32), labels) for labels in classes
    ]
    stream = running(small_stream(tasks=tasks, scenario=scenario, batch=2), [0, 1])
    assert stream.chance_of_all().tolist() == [expected] * 2
    reached = [
        np.mean([np.mean(np.array(labels) == (answer if np.isscalar(answer) else answer[i])) for i, labels in enumerate(classes)])
        for answer in (itertools.product(range(4), repeat=2) if scenario == "task-il" else range(4))
    ]
    assert max(reached) == expected


def test_chance_of_all_of_split_digits_is_a_tenth() -> None:
    stream = declared_stream("split", [0, 7], tasks=5)
    assert stream.chance_of_all().tolist() == pytest.approx([0.1, 0.1], abs=0.003)
    assert np.mean([stream.chance(task)[0] for task in range(1, 6)]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        *((kind, {}) for kind in ("split", "permuted", "rotated", "relabelled")),
        *((kind, {"noise": {"share": 0.3}}) for kind in ("split", "permuted", "relabelled")),  # each seed has labels of its own
    ],
)
def test_tasks_together_show_each_sample_as_its_task_shows_it(kind: str, more: dict[str, object]) -> None:
    stream = declared_stream(kind, [0, 4], tasks=5, **more)
    together = stream.train_until(3)
    parts = [stream.ordered(stream.train(task), task) for task in (1, 2, 3)]
    assert len(together) == sum(map(len, parts))
    index = torch.arange(len(together))[None]
    inputs, labels = together.take(index)
    expected = [part.take(torch.arange(len(part))[None]) for part in parts]
    for found, each in ((inputs, [x for x, _ in expected]), (labels, [y for _, y in expected])):
        size = max(map(len, each))
        assert torch.equal(found.expand(size, *found.shape[1:]), torch.cat([one.expand(size, *one.shape[1:]) for one in each], 1))
    order = stream.presentation("joint/3/0", len(together))
    shuffled = torch.cat([x for x, _ in together.batches(order, 500)], 1)
    for seed in range(2):
        assert torch.equal(shuffled[seed], inputs[min(seed, len(inputs) - 1)][order[seed]])


@pytest.mark.parametrize(
    ("kind", "sample", "more"), [("split", "image", {"tasks": 5}), ("rotated", "image", {}), ("permuted", "vector", {"tasks": 2})]
)
def test_a_sample_is_what_the_source_says_unless_its_numbers_are_reordered(kind: str, sample: str, more: dict) -> None:
    stream = declared_stream(kind, **{"tasks": 2, "degrees": 18.0, **more} if kind == "rotated" else more)
    assert stream.sample == sample
    assert running(small_stream()).sample == "vector"
