"""What a disturbed stream shows is what it declares, for every seed, and no seed's share of it depends on other seeds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from small_streams import Spy, declared_stream, mlp, problem_of, rows_of, values

from nlbench.errors import DataError
from nlbench.sources import find
from nlbench.streams.disturbed import graded, spread
from nlbench.streams.stream import Stream
from nlbench.streams.validation import ValidationStream

SEEDS = (0, 3, 8)


def shown(stream: Stream, task: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a task's training samples (S, n, d) and labels (S, n) as a learner sees them."""
    samples = stream.ordered(stream.train(task), task)
    inputs, labels = samples.take(torch.arange(len(samples))[None])
    size = max(len(inputs), len(labels))
    return inputs.expand(size, *inputs.shape[1:]).flatten(2), labels.expand(size, -1)


def owners(stream: Stream, plain: Stream, task: int, seed_index: int) -> np.ndarray:
    """Return whose sample each one of a turn is, found by what the tasks of the undisturbed stream show."""
    seen = _seen(plain, seed_index)
    return np.array([seen[row.numpy().tobytes()] for row in shown(stream, task)[0][seed_index]])


@cache
def _seen(plain: Stream, seed_index: int) -> dict[bytes, int]:
    tasks = range(1, plain.n_tasks + 1)
    return {
        row.numpy().tobytes(): task
        for task in tasks
        for row in shown(plain, task)[0].expand(len(plain.seeds), -1, -1)[seed_index]
    }


@pytest.mark.parametrize("kind", ["permuted", "rotated"])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_blurred_stream_shows_each_sample_once_and_the_declared_share_in_other_tasks_turns(kind: str, share: float) -> None:
    plain, blurred = (declared_stream(kind, SEEDS, tasks=4, **more) for more in ({}, {"blur": {"share": share}}))
    n = plain.train_size(1)
    for index in range(len(SEEDS)):
        found = [owners(blurred, plain, task, index) for task in range(1, 5)]
        assert [len(each) for each in found] == [blurred.train_size(task) for task in range(1, 5)]
        for task, each in enumerate(found, 1):
            foreign = np.bincount(each[each != task], minlength=5)[1:]
            assert abs(foreign.sum() - share * n) <= 1
            assert np.ptp(np.delete(foreign, task - 1)) <= 1
        together = torch.cat([shown(blurred, task)[0][index] for task in range(1, 5)])
        assert len({row.numpy().tobytes() for row in together}) == len(_seen(plain, index))
    assert not torch.equal(shown(blurred, 1)[1][0], shown(blurred, 1)[1][1])  # each seed draws its own


def test_a_gradual_boundary_is_the_declared_sigmoid() -> None:
    sizes, width = [20000] * 3, 0.05
    stream_order = np.concatenate(graded(sizes, width))
    assert np.array_equal(np.bincount(stream_order)[1:], sizes)
    for boundary, task in ((20000, 2), (40000, 3)):
        for offset in range(-4000, 4000, 400):
            part = stream_order[boundary + offset : boundary + offset + 400]
            expected = 1 / (1 + np.exp(-(offset + 200) / (width * 20000)))
            assert abs(np.mean(part >= task) - expected) < 4 * np.sqrt(max(expected * (1 - expected), 0.002) / 400)
    assert np.mean(stream_order[9000:11000] == 1) > 0.99


def test_a_gradual_stream_is_presented_in_its_order_while_each_pass_and_seed_reshuffles_what_stands_where() -> None:
    stream = declared_stream("permuted", SEEDS, tasks=3, blur={"width": 0.1}, protocol={"passes": 2})
    plain = declared_stream("permuted", SEEDS, tasks=3)
    learner = Spy(None, problem_of(stream))
    rows_of(learner, stream)
    steps = len(learner.batches) // 6
    first, second = (
        [torch.cat([batch.inputs[index] for batch in learner.batches[turn * steps : (turn + 1) * steps]]) for index in range(3)]
        for turn in (0, 1)
    )
    for index in range(3):
        whose = [np.array([_seen(plain, index)[row.numpy().tobytes()] for row in each[index]]) for each in (first, second)]
        assert np.array_equal(whose[0], whose[1])
        assert np.array_equal(whose[0], spread_in_time(len(whose[0])))
        assert not torch.equal(first[index], second[index])
        assert {row.numpy().tobytes() for row in first[index]} == {row.numpy().tobytes() for row in second[index]}


def spread_in_time(n: int) -> np.ndarray:
    return graded([n] * 3, 0.1)[0]


def test_turns_of_unequal_tasks_lose_no_sample() -> None:
    turns = spread([100, 10, 33], 0.5)
    assert np.bincount(np.concatenate(turns))[1:].tolist() == [100, 10, 33]
    assert [np.sum(turn == task) for task, turn in enumerate(turns, 1)] == [50, 5, 17]


def test_a_blurred_stream_is_learned_by_one_whose_first_layer_could_move() -> None:
    """Samples of several pixel orders stand in one batch: nothing may be moved there."""
    stream = declared_stream("permuted", [0], tasks=2, blur={"share": 0.5})
    found = values(rows_of(mlp(stream), stream), "accuracy")
    assert min(found[2, 1], found[2, 2]) > 0.6
    assert found[1, 2] > 0.4  # the second task was half of the first turn
    plain = declared_stream("permuted", [0], tasks=2)
    assert values(rows_of(mlp(plain), plain), "accuracy")[1, 2] < 0.35


def test_a_blurred_class_incremental_stream_says_which_classes_each_turn_shows() -> None:
    stream = declared_stream("split", tasks=5, blur={"share": 0.2}, protocol={"output_space": "seen"})
    for task in range(1, 6):
        assert stream.task_classes(task).all()
        assert set(shown(stream, task)[1][0].tolist()) == set(range(10))


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_noise_makes_the_declared_share_wrong_evenly_over_the_tasks_other_labels(share: float) -> None:
    plain, noisy = (declared_stream("permuted", SEEDS, tasks=2, **more) for more in ({}, {"noise": {"share": share}}))
    right, wrong = shown(plain, 1)[1], shown(noisy, 1)[1]
    n = right.shape[1]
    flipped = wrong != right
    assert flipped.sum(1).tolist() == [round(share * n)] * 3
    assert not torch.equal(flipped[0], flipped[1])
    jumps = ((wrong - right) % 10)[flipped].bincount(minlength=10)[1:]
    assert jumps.max() < jumps.double().mean() + 4 * jumps.double().mean().sqrt()
    assert jumps.min() > jumps.double().mean() - 4 * jumps.double().mean().sqrt()
    assert torch.equal(noisy.test(1).labels, plain.test(1).labels)
    split = declared_stream("split", SEEDS, tasks=5, noise={"share": share})
    assert set(shown(split, 3)[1].flatten().tolist()) == {4, 5}


def test_noise_among_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="task 1 has one class"):
        declared_stream("split", tasks=10, noise={"share": 0.1}).train(1)


def test_noise_draws_labels_that_the_tasks_training_samples_have(tmp_path: Path) -> None:
    labels = np.arange(60) % 6
    np.savez(tmp_path / "tasks.npz", inputs=np.arange(120.0).reshape(60, 2), labels=labels, tasks=labels // 2)
    own = {"source": str(tmp_path / "tasks.npz"), "tasks": 3, "scenario": "domain-il"}
    stream = declared_stream("arrays", SEEDS, noise={"share": 0.5}, **own)
    for task in (1, 2, 3):
        assert set(shown(stream, task)[1].flatten().tolist()) == {2 * task - 2, 2 * task - 1}


def test_a_long_tail_keeps_the_declared_share_of_each_label_or_task() -> None:
    counts = np.bincount(find("digits").read().train_labels)
    stream = declared_stream("split", SEEDS, tasks=5, imbalance={"ratio": 20.0})
    found = np.array(
        [sum((shown(stream, task)[1][index] == k).sum().item() for task in range(1, 6)) for k in range(10) for index in (0,)]
    )
    expected = [max(1, round(counts[k] * 20.0 ** (-k / 9))) for k in range(10)]
    assert found.tolist() == expected
    assert len(stream.test(5)) == len(declared_stream("split", tasks=5).test(5))
    by_task = declared_stream("permuted", SEEDS, tasks=3, imbalance={"ratio": 9.0, "across": "tasks"})
    sizes = [by_task.train_size(task) for task in (1, 2, 3)]
    assert np.allclose(np.array(sizes) / counts.sum(), [1, 1 / 3, 1 / 9], atol=0.005)
    assert not torch.equal(shown(stream, 5)[0][0], shown(stream, 5)[0][1])


def test_a_long_tail_over_labels_that_differ_by_seed_needs_quotas() -> None:
    split = {"tasks": 5, "class_order": "seed", "train_quota": 30, "test_quota": 10, "imbalance": {"ratio": 5.0}}
    assert declared_stream("split", SEEDS, **split).train_size(5) < 20
    with pytest.raises(DataError, match="as many samples of label k for every seed"):
        declared_stream("relabelled", SEEDS, tasks=2, imbalance={"ratio": 5.0}).train(2)


def test_recurring_tasks_are_the_same_tasks_again() -> None:
    stream = declared_stream("permuted", SEEDS, tasks=5, recurrence={"different": 2})
    plain = declared_stream("permuted", SEEDS, tasks=2)
    assert (stream.n_tasks, plain.n_tasks, stream.n_classes) == (5, 2, 10)
    for task in range(1, 6):
        again = 1 + (task - 1) % 2
        assert torch.equal(shown(stream, task)[0], shown(plain, again)[0])
        assert torch.equal(stream.pixel_order(task), plain.pixel_order(again))
        assert torch.equal(stream.test(task).labels, plain.test(again).labels)


EVERYTHING = {
    "recurrence": {"different": 2},
    "imbalance": {"ratio": 3.0, "across": "tasks"},
    "noise": {"share": 0.2},
    "blur": {"share": 0.3},
}


@pytest.mark.parametrize("kind", ["split", "permuted", "relabelled"])
def test_wrong_labels_blur_with_their_samples(kind: str) -> None:
    noise = {"share": 0.3}
    noisy, blurred = (declared_stream(kind, SEEDS, tasks=5, noise=noise, **more) for more in ({}, {"blur": {"share": 0.4}}))
    for index in range(len(SEEDS)):
        assert labelled(noisy, index) == labelled(blurred, index)


def labelled(stream: Stream, seed_index: int) -> list[tuple[bytes, int]]:
    """Return the samples of a seed in all turns, each with its label."""
    found = []
    for task in range(1, stream.n_tasks + 1):
        inputs, labels = shown(stream, task)
        own = inputs[min(seed_index, len(inputs) - 1)]
        found += [(row.numpy().tobytes(), label) for row, label in zip(own, labels[seed_index].tolist(), strict=True)]
    return sorted(found)


@pytest.mark.parametrize("kind", ["permuted", "rotated", "relabelled"])
def test_disturbances_compose_and_a_seed_is_the_same_alone(kind: str) -> None:
    among = declared_stream(kind, SEEDS, tasks=4, **EVERYTHING)
    alone = declared_stream(kind, [8], tasks=4, **EVERYTHING)
    for task in range(1, 5):
        for mine, its in zip(shown(among, task), shown(alone, task), strict=True):
            assert torch.equal(mine[2], its[0])


def test_a_disturbed_stream_can_be_tuned_on() -> None:
    disturbed = declared_stream("permuted", SEEDS, tasks=4, **{**EVERYTHING, "recurrence": None})
    stream = ValidationStream(disturbed, 3, 0.2)
    learned, judged = (set(rows(stream, part, 2)) for part in ("train", "test"))
    assert not learned & judged
    assert learned | judged == set(rows(disturbed, "train", 2))


def test_what_is_judged_of_a_recurring_task_is_never_learned() -> None:
    recurring = {"recurrence": {"different": 2}, "imbalance": {"ratio": 3.0}}
    stream = ValidationStream(declared_stream("permuted", SEEDS, tasks=4, **recurring), 4, 0.2)
    learned = {row for task in range(1, 5) for row in rows(stream, "train", task)}
    judged = {row for task in range(1, 5) for row in rows(stream, "test", task)}
    assert not learned & judged


def rows(stream: Stream, part: str, task: int) -> list[bytes]:
    samples = stream.ordered(getattr(stream, part)(task), task)
    inputs, _ = samples.take(torch.arange(len(samples))[None])
    return [row.numpy().tobytes() for row in inputs[1]]
