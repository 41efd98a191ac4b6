from __future__ import annotations

from typing import Any

import pytest
import torch
from small_streams import Spy, cms, declared_stream, mlp, problem_of, rows_of, running, small_stream, small_tasks, values
from torch import Tensor

from nlbench import Batch
from nlbench import seeds as draws
from nlbench.errors import NlbenchError
from nlbench.protocol import BOUNDARY, Meeting, Schedule
from nlbench.streams.stream import Stream


def spied(stream: Stream, **options: Any) -> tuple[Spy, list[Any]]:
    spy = Spy({}, problem_of(stream))
    return spy, rows_of(spy, stream, **options)


# the rows


def test_the_matrix_has_a_row_before_any_training_and_every_column_in_each() -> None:
    stream = running(small_stream(), [0, 4])
    rows = rows_of(mlp(stream), stream)
    for seed in (0, 4):
        assert list(values(rows, "accuracy", seed)) == [(i, j) for i in range(4) for j in (1, 2, 3)]
    assert {row.n for row in rows if row.metric == "accuracy"} == {20}
    untrained = mlp(stream).predict(stream.test(2).inputs[None], None).argmax(-1)
    expected = (untrained == stream.test(2).labels).double().mean(1)
    assert [values(rows, "accuracy", seed)[0, 2] for seed in (0, 4)] == expected.tolist()


@pytest.mark.parametrize(
    ("policy", "measured"),
    [
        ("full", {i: {1, 2, 3, 4} for i in range(5)}),
        ("seen", {1: {1}, 2: {1, 2}, 3: {1, 2, 3}, 4: {1, 2, 3, 4}}),
        ("final", {4: {1, 2, 3, 4}}),
        ("window:1", {1: {1}, 2: {2}, 3: {3}, 4: {1, 2, 3, 4}}),
        ("window:2", {1: {1}, 2: {1, 2}, 3: {2, 3}, 4: {1, 2, 3, 4}}),
        ("window:9", {1: {1}, 2: {1, 2}, 3: {1, 2, 3}, 4: {1, 2, 3, 4}}),
    ],
)
def test_an_evaluation_policy_measures_exactly_what_it_says(policy: str, measured: dict[int, set[int]]) -> None:
    stream = running(small_stream(tasks=small_tasks(4), evaluate=policy))
    found = values(rows_of(mlp(stream), stream), "accuracy")
    assert set(found) == {(i, j) for i, columns in measured.items() for j in columns}
    full = running(small_stream(tasks=small_tasks(4)))
    whole = values(rows_of(mlp(full), full), "accuracy")
    assert all(whole[key] == value for key, value in found.items())


def test_every_boundary_ends_with_its_seconds_and_carries_bytes_and_diagnostics() -> None:
    stream = running(small_stream(), [0, 1])
    rows = rows_of(cms(stream), stream)
    ends = [index for index, row in enumerate(rows) if row.metric == BOUNDARY]
    assert [rows[index].after_task for index in ends] == [0, 1, 2, 3]
    assert ends[-1] == len(rows) - 1
    assert all(row.value >= 0 and row.seed is None for row in rows if row.metric.startswith("seconds."))
    for name in ("bytes.parameters", "bytes.optimizer", "level.1.updates", "level.3.updates"):
        found = [(row.seed, row.after_task) for row in rows if row.metric == name]
        assert found == [(seed, task) for task in range(4) for seed in (0, 1)]
    assert values(rows, "level.3.updates") == {(task, None): float(5 * task // 3) for task in range(4)}


def test_chance_is_recorded_for_each_task_and_seed_and_for_the_whole_stream() -> None:
    stream = declared_stream("split", [0, 7], tasks=5, scenario="domain-il")
    rows = rows_of(Spy({}, problem_of(stream)), stream)
    for seed in (0, 7):
        each = {(None, task): stream.chance(task)[0].item() for task in range(1, 6)}
        assert values(rows, "chance", seed) == {**each, (None, None): stream.chance_of_all()[0].item()}


# what a learner is shown


def test_the_task_is_told_in_task_il_only_in_training_and_in_test() -> None:
    for scenario in ("task-il", "domain-il", "class-il"):
        stream = running(small_stream(scenario=scenario, evaluate_every=16))
        spy, rows = spied(stream)
        tasks = [task for task in (1, 2, 3) for _ in range(5)]
        tested = [row.on_task for row in rows if row.metric in ("accuracy", "accuracy_within")]
        if scenario == "task-il":
            assert [batch.task for batch in spy.batches] == tasks
            assert sorted(task for _, task in spy.predicted) == sorted(tested)
        else:
            assert {batch.task for batch in spy.batches} == {None}
            assert {task for _, task in spy.predicted} == {None}


@pytest.mark.parametrize("boundaries", [True, False])
def test_a_learner_is_told_that_a_task_ended_only_if_the_stream_says_so(boundaries: bool) -> None:
    stream = running(small_stream(boundaries=boundaries, evaluate="seen"))
    spy, _ = spied(stream)
    steps = [event for event in spy.events if event != "predict"]
    assert steps == ([*["observe"] * 5, "end_task"] * 3 if boundaries else ["observe"] * 15)
    if boundaries:  # it is told before the row of the task is measured
        assert spy.events[spy.events.index("end_task") + 1] == "predict"


# evaluation within tasks


def within_keys(rows: list[Any]) -> list[tuple[int, int, int]]:
    return [(row.after_task, row.samples_seen, row.on_task) for row in rows if row.metric == "accuracy_within"]


def test_within_tasks_it_measures_at_the_start_after_ten_batches_each_and_every_so_many_samples() -> None:
    stream = running(small_stream(tasks=small_tasks(2, n_train=120), evaluate_every=48))
    rows = rows_of(mlp(stream), stream)
    expected = []
    for task, start in ((1, 0), (2, 120)):
        seen = range(1, task + 1)
        expected += [(task - 1, start, j) for j in seen]
        for number in range(1, 16):
            samples = 8 * number
            tasks = seen if samples % 48 == 0 else [task] if number <= 10 else []
            expected += [(task - 1, start + samples, j) for j in tasks]
    expected += [(2, 240, 1), (2, 240, 2)]
    found = within_keys(rows)
    assert found == expected
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("every", [1, 7, 8, 20, 40, 120, 500])
@pytest.mark.parametrize("passes", [1, 2])
def test_keys_within_tasks_are_unique_whatever_the_interval(every: int, passes: int) -> None:
    stream = running(small_stream(tasks=small_tasks(3, n_train=[40, 41, 7]), evaluate_every=every, passes=passes))
    found = within_keys(rows_of(mlp(stream), stream))
    assert len(set(found)) == len(found)
    total = passes * 88
    assert {key for key in found if key[0] == 3} == {(3, total, 1), (3, total, 2), (3, total, 3)}
    for task, start in ((2, 40 * passes), (3, 81 * passes)):
        assert {(task - 1, start, j) for j in range(1, task + 1)} <= set(found)


class Second(Spy):
    """Answers label 2, the first of the second task."""

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return super().predict(inputs, task).roll(2, -1)


def test_within_a_task_its_own_labels_compete_with_those_seen_before() -> None:
    stream = running(small_stream(output_space="seen", evaluate_every=16))
    rows = rows_of(Second({}, problem_of(stream)), stream)
    within = {(row.after_task, row.on_task): row.value for row in rows if row.metric == "accuracy_within"}
    assert within[1, 2] == within[2, 2] == 0.5


def test_prequential_accuracy_is_measured_on_each_batch_before_learning_it() -> None:
    stream = running(small_stream(prequential=True, passes=2), [0, 1])
    rows = rows_of(mlp(stream), stream)
    learner = mlp(stream)
    for task in (1, 2, 3):
        right = torch.zeros(2)
        for number in range(2):
            samples = stream.train(task)
            for inputs, labels in samples.batches(stream.presentation(f"{task}/{number}", 40), 8):
                right += (learner.predict(inputs, None).argmax(-1) == labels).sum(1)
                learner.observe(Batch(inputs, labels, stream.competing(task, task), None))
        found = [row for row in rows if row.metric == "prequential_accuracy" and row.on_task == task]
        assert [(row.seed, row.after_task, row.value, row.n) for row in found] == [
            (i, task, right[i].item() / 80, 80) for i in (0, 1)
        ]
    stream = running(small_stream())
    assert not [row for row in rows_of(mlp(stream), stream) if row.metric in ("prequential_accuracy", "accuracy_within")]


# cumulative presentation


@pytest.mark.parametrize("presents", ["cumulative", "accumulated"])
@pytest.mark.parametrize("kind", ["arrays", "permuted"])
def test_all_tasks_so_far_are_learned_together_from_the_same_start_or_from_where_it_stands(kind: str, presents: str) -> None:
    if kind == "arrays":
        stream: Stream = running(small_stream(passes=2, evaluate_every=8, prequential=True), [0, 3])
    else:
        stream = declared_stream("permuted", [0, 3], tasks=3, protocol={"batch": 64})
    size, passes = stream.spec.protocol.batch, stream.spec.protocol.passes
    rows = rows_of(mlp(stream, momentum=0.5), stream, presents=presents)
    learner = mlp(stream, momentum=0.5)
    assert {row.metric for row in rows if row.samples_seen is not None or row.metric.startswith("preq")} == set()
    for until in (0, 1, 2, 3):
        learner = mlp(stream, momentum=0.5) if presents == "cumulative" else learner
        for number in range(passes if until else 0):
            order = torch.stack(
                [
                    torch.from_numpy(
                        draws.permutation([seed], f"order/joint/{until}/{number}", len(stream.train_until(until)))[0]
                    )
                    for seed in (0, 3)
                ]
            )
            for first in range(0, order.shape[1], size):
                index = order[:, first : first + size]
                inputs, labels = [], []
                for row, seed in zip(index, (0, 1), strict=True):
                    pairs = [position(stream, int(i), seed) for i in row]
                    inputs.append(torch.stack([x for x, _ in pairs]))
                    labels.append(torch.stack([y for _, y in pairs]))
                learner.observe(
                    Batch(torch.stack(inputs), torch.stack(labels), torch.ones(stream.n_classes, dtype=torch.bool), None)
                )
        for task in (1, 2, 3):
            samples = stream.ordered(stream.test(task), task)
            inputs, labels = samples.take(torch.arange(len(samples))[None])
            right = (learner.predict(inputs, None).argmax(-1) == labels).double().mean(1)
            assert [values(rows, "accuracy", seed)[until, task] for seed in (0, 3)] == right.tolist()


def test_what_starts_anew_for_a_row_that_is_not_measured_is_not_trained_for_it() -> None:
    final, full = (running(small_stream(passes=2, evaluate=policy), [0, 3]) for policy in ("final", "full"))
    spy, rows = spied(final, presents="cumulative")
    alone = Schedule.of(final, final.spec.protocol.batch, "cumulative")
    assert len(spy.batches) == alone.steps == alone.steps_to_last_row
    assert [row.value > 0 for row in rows if row.metric == "seconds.train"] == [False, False, False, True]
    last = [rows_of(mlp(stream, momentum=0.5), stream, presents="cumulative") for stream in (final, full)]
    found, whole = (
        {(seed, at): value for seed in (0, 3) for at, value in values(each, "accuracy", seed).items()} for each in last
    )
    assert found == {key: value for key, value in whole.items() if key[1][0] == 3}


def position(stream: Stream, i: int, seed_index: int) -> tuple[Tensor, Tensor]:
    """Return sample i of all tasks in a row, as its task shows it to a seed."""
    for task in range(1, stream.n_tasks + 1):
        samples = stream.train(task)
        if i < len(samples):
            x, order = samples.inputs[samples.rows[0, i]], stream.pixel_order(task)
            return (x if order is None else x[order[seed_index]]), samples.labels[0, i]
        i -= len(samples)
    raise IndexError(i)


class Named(Spy):
    """Has a diagnostic and a kind of memory of chosen names."""

    diagnostic = "level.1.updates"
    kind = "state"

    def diagnostics(self) -> dict[str, Tensor]:
        return {self.diagnostic: torch.zeros(1)}

    def memory_bytes(self) -> dict[str, int]:
        return {self.kind: 8}


@pytest.mark.parametrize("name", ["accuracy", "accuracy_within", "chance", "bytes.x", "seconds.x", "a\nb", "", "x" * 201])
def test_a_diagnostic_that_takes_a_name_of_the_protocol_is_refused_before_the_first_batch(name: str) -> None:
    stream = running(small_stream())
    learner = Named({}, problem_of(stream))
    learner.diagnostic = name
    with pytest.raises(NlbenchError, match="diagnostics:"):
        rows_of(learner, stream)
    assert not learner.batches
    learner.diagnostic, learner.kind = "of_my_own", "a\x1bb"
    with pytest.raises(NlbenchError, match="memory_bytes:"):
        rows_of(learner, stream)
    learner.kind = "state"
    assert "of_my_own" in {row.metric for row in rows_of(learner, stream)}


def test_names_that_are_reserved_are_refused_too() -> None:
    stream = running(small_stream())
    learner = Named({}, problem_of(stream))
    learner.diagnostic = "forgetting"
    with pytest.raises(NlbenchError, match="diagnostics:"):
        list(Meeting(learner, stream, Schedule.of(stream, 8, "sequential"), {"forgetting"}).steps())
    assert not learner.batches
