"""What a learner is told and shown: each sample once a pass, the rest of it from any position, nothing it may not know."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_streams import Spy, declared_stream, problem_of, rows_of, running, small_stream, small_tasks
from torch import Tensor

from nlbench import Batch, Batches, protocol
from nlbench import seeds as draws
from nlbench.protocol import Position, Schedule
from nlbench.protocol.feed import Feed
from nlbench.protocol.order import PixelOrder
from nlbench.streams.stream import Stream


class Taking(Spy):
    """Takes many batches at once, and can move its first layer."""

    takes_batches = True

    def observe(self, batch: Batch) -> Tensor:
        return super().observe(batch)

    def observe_batches(self, batches: Batches) -> Tensor:
        raise AssertionError

    def permute_inputs(self, order: Tensor) -> None:
        self.events.append("move")


def feed_of(stream: Stream, kind: type[Spy], presents: str = "sequential") -> tuple[Feed, Schedule]:
    learner, schedule = kind({}, problem_of(stream)), Schedule.of(stream, stream.spec.protocol.batch, presents)
    return Feed(stream, schedule, learner, PixelOrder(learner, stream, mixed=schedule.cumulative)), schedule


def shown_from(feed: Feed, start: Position) -> list[tuple[Position, list[tuple[Any, ...]]]]:
    """Return what is shown from a position on: where each part leads, and its batches (inputs, labels, classes, task)."""
    found = []
    for part in feed.passes(start):
        for stretch, shown in part:
            if isinstance(shown, Batches):
                inputs, labels = shown.inputs[shown.rows], shown.labels
                cuts = [slice(first, first + shown.size) for first in range(0, labels.shape[1], shown.size)]
            else:
                inputs, labels, cuts = shown.inputs, shown.labels, [slice(None)]
            found.append((stretch.then, [(inputs[:, cut], labels[:, cut], shown.classes, shown.task) for cut in cuts]))
    return found


def same(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> bool:
    return len(one) == len(other) and all(
        all(torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in zip(ours, theirs, strict=True))
        for ours, theirs in zip(one, other, strict=True)
    )


STREAMS = {
    "plain": lambda: running(small_stream(tasks=small_tasks(2, n_train=[90, 41]), passes=2), [0, 3]),
    "within": lambda: running(small_stream(tasks=small_tasks(2, n_train=[130, 41]), passes=2, evaluate_every=24), [0, 3]),
    "task-il": lambda: running(small_stream(scenario="task-il", prequential=True), [0, 3]),
    "permuted": lambda: declared_stream("permuted", [0, 3], tasks=2, protocol={"batch": 400, "passes": 2}),
}


@pytest.mark.parametrize("presents", ["sequential", "cumulative"])
@pytest.mark.parametrize("kind", [Spy, Taking])
@pytest.mark.parametrize("made", STREAMS)
def test_the_feed_from_a_position_is_the_tail_of_the_whole_feed(made: str, kind: type[Spy], presents: str) -> None:
    stream = STREAMS[made]()
    feed, schedule = feed_of(stream, kind, presents)
    for task in (1, 2):
        whole = shown_from(feed, Position(task))
        assert whole[-1][0] == Position(task, schedule.passes)
        for index, (then, _) in enumerate(whole):
            rest = shown_from(feed, then)
            assert [position for position, _ in rest] == [position for position, _ in whole[index + 1 :]]
            assert all(same(ours, theirs) for (_, ours), (_, theirs) in zip(rest, whole[index + 1 :], strict=True))
        batches = [batch for _, part in whole for batch in part]
        per_pass = len(batches) // schedule.passes
        for index in range(1, len(batches)):
            rest = shown_from(feed, Position(task, *divmod(index, per_pass)))
            assert same([batch for _, part in rest for batch in part], batches[index:])


@pytest.mark.parametrize("made", STREAMS)
def test_no_sample_is_shown_twice_in_a_pass_however_often_it_is_left_and_entered(made: str) -> None:
    stream = STREAMS[made]()
    feed, schedule = feed_of(stream, Spy)
    position, labels = Position(1), []
    while position.passes == 0:
        (first, *_) = shown_from(feed, position)
        assert first[0] > position
        position = first[0]
        labels += [batch[1] for batch in first[1]]
    order = stream.presentation("1/0", schedule.sizes[0])
    assert sorted(order[0].tolist()) == list(range(schedule.sizes[0]))
    assert torch.equal(torch.cat(labels, 1), stream.train(1).presented(order)[1])


@pytest.mark.parametrize(
    ("made", "presents", "at_once"),
    [
        ("plain", "sequential", True),
        ("within", "sequential", True),
        ("task-il", "sequential", False),  # predicted before it is learned
        ("permuted", "sequential", True),
        ("permuted", "cumulative", False),  # an image has to be permuted
        ("plain", "cumulative", True),
    ],
)
def test_a_learner_that_takes_many_batches_gets_them_where_they_can_be_given(made: str, presents: str, at_once: bool) -> None:
    stream = STREAMS[made]()
    for kind, expected in ((Taking, Batches if at_once else Batch), (Spy, Batch)):
        feed, _ = feed_of(stream, kind, presents)
        assert {type(shown) for part in feed.passes(Position(2)) for _, shown in part} == {expected}


def test_observing_turns_to_the_task_first_and_gives_losses_that_lead_nowhere() -> None:
    stream = STREAMS["permuted"]()
    learner = Taking({}, problem_of(stream))
    learner.takes_batches = False
    feed = Feed(stream, Schedule.of(stream, 400, "sequential"), learner, PixelOrder(learner, stream, mixed=False))
    _, batch = next(next(feed.passes(Position(2))))
    losses = feed.observe(batch, 2)
    assert learner.events == ["move", "observe"]
    assert losses.shape == (2,)
    assert not losses.requires_grad


def test_a_problem_says_of_the_stream_what_does_not_tell_its_tasks() -> None:
    for scenario in ("task-il", "domain-il", "class-il"):
        stream = running(small_stream(scenario=scenario), [0, 3])
        told = protocol.problem_of(stream, steps=15, backend="auto", precision="bf16")
        assert (told.input_shape, told.n_classes, told.seeds, told.scenario) == ((6,), stream.n_classes, (0, 3), scenario)
        assert (told.device, told.backend, told.steps, told.precision, told.sample) == (
            stream.device,
            "auto",
            15,
            "bf16",
            "vector",
        )


# whole runs


def spied(stream: Stream, **options: Any) -> tuple[Spy, list[Any]]:
    spy = Spy({}, problem_of(stream))
    return spy, rows_of(spy, stream, **options)


@pytest.mark.parametrize("n_train", [40, 41, 7])
def test_each_pass_shows_every_sample_once_in_a_new_order_and_keeps_the_short_last_batch(n_train: int) -> None:
    stream = running(small_stream(tasks=small_tasks(2, n_train=n_train), passes=3), [0, 1])
    spy, _ = spied(stream)
    per_pass = -(-n_train // 8)
    assert len(spy.batches) == 2 * 3 * per_pass
    sizes = [8] * (n_train // 8) + ([n_train % 8] if n_train % 8 else [])
    assert [batch.inputs.shape[1] for batch in spy.batches] == sizes * 6
    for index in range(2):
        orders = set()
        for number in range(6):
            part = spy.batches[number * per_pass : (number + 1) * per_pass]
            shown = torch.cat([batch.inputs[index] for batch in part])
            labels = torch.cat([batch.labels[index] for batch in part])
            samples = stream.train(1 + number // 3)
            found = (shown[:, None] == samples.inputs[None]).all(-1).nonzero()[:, 1]
            assert sorted(found.tolist()) == list(range(n_train))
            assert torch.equal(labels, samples.labels[0, found])
            assert torch.equal(
                found, torch.from_numpy(draws.permutation([index], f"order/{1 + number // 3}/{number % 3}", n_train))[0]
            )
            orders.add(tuple(found.tolist()))
        assert len(orders) == 6


@pytest.mark.parametrize(
    ("scenario", "space", "competing"),
    [
        ("task-il", None, [[0, 1], [2, 3], [4, 5]]),
        ("class-il", "all", [[0, 1, 2, 3, 4, 5]] * 3),
        ("class-il", "seen", [[0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]),
        ("domain-il", None, [[0, 1]] * 3),
    ],
)
def test_training_batches_name_the_logits_that_compete(scenario: str, space: str | None, competing: list[list[int]]) -> None:
    stream = running(small_stream(scenario=scenario, **({"output_space": space} if space else {})))
    spy, _ = spied(stream)
    assert [batch.classes.nonzero().flatten().tolist() for batch in spy.batches[::5]] == competing
    if scenario == "domain-il":
        assert {int(label) for batch in spy.batches for label in batch.labels.flatten()} == {0, 1}


def test_joint_is_told_no_task_and_no_task_mask_in_task_il() -> None:
    stream = running(small_stream(scenario="task-il"))
    spy, _ = spied(stream, presents="cumulative")
    assert {batch.task for batch in spy.batches} == {None}
    assert all(batch.classes.all() for batch in spy.batches)
    assert {task for _, task in spy.predicted} == {1, 2, 3}
