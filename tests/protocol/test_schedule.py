"""What happens when: every sample once a pass, measured where it says, and entered anywhere without a sample shown twice."""

from __future__ import annotations

import pytest
from small_streams import Spy, problem_of, rows_of, running, small_stream, small_tasks

from nlbench.protocol import Position, Schedule, Stretch, evaluated_tasks
from nlbench.protocol.schedule import AT_ONCE, START, WITHIN_SAMPLES


def schedule(
    sizes: tuple[int, ...] = (40, 41, 7),
    *,
    batch: int = 8,
    passes: int = 1,
    every: int | None = None,
    evaluate: str = "full",
    cumulative: bool = False,
) -> Schedule:
    return Schedule(sizes, batch, passes, evaluate, every, prequential=False, cumulative=cumulative, anew=cumulative)


def task_of(made: Schedule, task: int, at_once: int) -> list[Stretch]:
    """Return the stretches of all passes of a task."""
    return [part for number in range(made.passes) for part in made.stretches(Position(task, number), at_once)]


def batches_of(made: Schedule, parts: list[Stretch]) -> list[tuple[int, int]]:
    """Return the samples of each batch in stretches."""
    return [(first, min(first + made.batch, part.last)) for part in parts for first in range(part.first, part.last, made.batch)]


# stretches

MADE = [schedule(), schedule(every=20), schedule((700, 33), passes=3, every=48), schedule((1300,), batch=7), schedule((5,))]


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("at_once", [1, 3, AT_ONCE])
def test_a_pass_is_every_sample_once_in_batches_of_which_the_last_may_be_short(made: Schedule, at_once: int) -> None:
    for task, size in enumerate(made.sizes, 1):
        for number in range(made.passes):
            parts = list(made.stretches(Position(task, number), at_once))
            assert [part.first for part in parts] == [0, *(part.last for part in parts[:-1])]
            assert parts[-1].last == size
            assert all(part.first % made.batch == 0 for part in parts)
            assert [part.seen for part in parts] == [number * size + part.last for part in parts]
            assert max(-(-(part.last - part.first) // made.batch) for part in parts) <= at_once


@pytest.mark.parametrize("made", MADE)
def test_many_at_once_are_the_same_batches_measured_at_the_same_places(made: Schedule) -> None:
    for task in range(1, made.n_tasks + 1):
        one, many = task_of(made, task, 1), task_of(made, task, AT_ONCE)
        assert batches_of(made, many) == [(part.first, part.last) for part in one]
        assert [(part.seen, part.due) for part in many if part.due] == [(part.seen, part.due) for part in one if part.due]
        assert made.every or len(many) == -(-len(one) // (made.passes * AT_ONCE)) * made.passes


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_a_run_can_stand_where_it_comes_by_and_nowhere_else(made: Schedule, at_once: int) -> None:
    passed = {stretch.then for task in range(1, made.n_tasks + 1) for stretch in made.stretches(Position(task), at_once)}
    assert all(map(made.holds, {START, Position(made.n_tasks + 1), Position(1, made.passes), *passed}))
    beyond = Position(1, 0, made._batches_in_pass(1)), Position(1, made.passes, 1), Position(1, made.passes + 1)
    assert not any(map(made.holds, (*beyond, Position(0, 1), Position(made.n_tasks + 2), Position(1, -1), Position(1, 0, -1))))


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_what_follows_a_position_is_the_tail_of_the_whole(made: Schedule, at_once: int) -> None:
    """From each place that a run stands at, the very stretches; from any batch, the very batches and measurements."""
    for task in range(1, made.n_tasks + 1):
        for number in range(made.passes):
            whole = list(made.stretches(Position(task, number), at_once))
            assert whole[-1].then == Position(task, number + 1)
            for index, part in enumerate(whole[:-1]):
                assert list(made.stretches(part.then, at_once)) == whole[index + 1 :]
            batches, due = batches_of(made, whole), [(part.seen, part.due) for part in whole if part.due]
            for index, (first, _) in enumerate(batches):
                rest = list(made.stretches(Position(task, number, index), at_once))
                assert batches_of(made, rest) == batches[index:]
                seen = number * made.sizes[task - 1] + first
                assert [(part.seen, part.due) for part in rest if part.due] == [point for point in due if point[0] > seen]


def test_positions_follow_one_another_as_plain_numbers() -> None:
    made = schedule((40, 41), passes=2)
    assert [part.then for part in task_of(made, 2, 1)] == [
        *((2, 0, done) for done in (1, 2, 3, 4, 5)), (2, 1, 0), *((2, 1, done) for done in (1, 2, 3, 4, 5)), (2, 2, 0)
    ]  # fmt: skip
    assert [part.then for part in task_of(made, 2, 4)] == [(2, 0, 4), (2, 1, 0), (2, 1, 4), (2, 2, 0)]
    assert list(made.stretches(Position(1, 0, 5), 1)) == []
    assert all(type(number) is int for part in task_of(made, 1, 4) for number in part.then)


# when something is measured


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
    made = schedule((8, 8, 8, 8), evaluate=policy)
    for task in range(5):
        assert set(made.evaluated(task)) == measured.get(task, set())
        assert made.evaluated(task) == evaluated_tasks(policy, task, 4)


def test_within_tasks_it_measures_at_the_start_after_ten_batches_each_and_every_so_many_samples() -> None:
    made = schedule((120, 120), every=48)
    for task in (1, 2):
        seen = range(1, task + 1)
        assert made.due_at(Position(task)) == seen
        due = [part.due for part in task_of(made, task, 1)]
        assert due == [
            seen if samples % 48 == 0 else range(task, task + 1) if samples <= 80 else range(0)
            for samples in range(8, 121, 8)
        ]  # fmt: skip
    assert not made.due_after(1)
    assert made.due_after(2) == range(1, 3)


@pytest.mark.parametrize("every", [1, 7, 8, 20, 48, 500])
@pytest.mark.parametrize("passes", [1, 3])
def test_an_interval_counts_samples_of_the_task_through_all_its_passes(every: int, passes: int) -> None:
    made = schedule((40, 41, 7), every=every, passes=passes)
    for task in (1, 2, 3):
        before = 0
        for index, part in enumerate(task_of(made, task, 1), 1):
            crossed = any(sample % every == 0 for sample in range(before + 1, part.seen + 1))
            expected = range(1, task + 1) if crossed else range(task, task + 1) if index <= 10 else range(0)
            assert part.due == expected
            before = part.seen
        assert before == made.sizes[task - 1] * passes


@pytest.mark.parametrize("cumulative", [False, True])
def test_without_an_interval_nothing_is_measured_within(cumulative: bool) -> None:
    made = schedule((40, 41), cumulative=cumulative)
    assert not made.due_at(Position(2))
    assert not made.due_after(2)
    assert not any(part.due for part in task_of(made, 2, 1))


def test_a_task_that_goes_on_is_not_measured_as_if_it_began() -> None:
    made = schedule(every=8)
    assert made.due_at(Position(2))
    assert not made.due_at(Position(2, 0, 1))
    assert not made.due_at(Position(2, 1))


# what there is to do


def test_a_schedule_takes_its_facts_from_the_stream() -> None:
    stream = running(small_stream(tasks=small_tasks(3, n_train=[40, 41, 7]), passes=2, evaluate_every=20, prequential=True))
    made = Schedule.of(stream, 8, "sequential")
    assert made == Schedule((40, 41, 7), 8, 2, "full", 20, prequential=True, cumulative=False, anew=False)
    assert [made.seen_before(task) for task in (1, 2, 3, 4)] == [0, 80, 162, 176]
    made = Schedule.of(stream, 8, "cumulative")
    assert made == Schedule((40, 81, 88), 8, 2, "full", None, prequential=False, cumulative=True, anew=True)


def test_the_number_of_batches_is_what_a_learner_observes_before_its_last_row() -> None:
    stream = running(small_stream(tasks=small_tasks(3, n_train=[40, 41, 7]), passes=2))
    together = 2 * (5 + 11 + 11)
    for presents, last in (("sequential", 2 * (5 + 6 + 1)), ("cumulative", 2 * 11), ("accumulated", together)):
        spy = Spy({}, problem_of(stream))
        rows_of(spy, stream, presents=presents)
        made = Schedule.of(stream, 8, presents)
        assert made.steps == len(spy.batches)
        assert made.steps_to_last_row == last


def test_a_row_that_starts_anew_and_measures_nothing_learns_nothing() -> None:
    anew, onward = schedule(evaluate="final", passes=2, cumulative=True), schedule(evaluate="final", passes=2)
    assert [anew.learns(task) for task in (1, 2, 3)] == [False, False, True]
    assert [onward.learns(task) for task in (1, 2, 3)] == [True, True, True]
    assert (anew.steps, anew.seen_before(3), anew.seen_before(4)) == (2, 0, 14)
    assert all(schedule(evaluate=policy, cumulative=True).learns(1) for policy in ("full", "seen", "window:1"))


@pytest.mark.parametrize("evaluate", ["full", "seen", "final", "window:2"])
@pytest.mark.parametrize("every", [None, 7, 48, 5000])
@pytest.mark.parametrize("passes", [1, 2])
def test_a_schedule_knows_how_many_test_samples_a_run_predicts(evaluate: str, every: int | None, passes: int) -> None:
    sizes = [30, WITHIN_SAMPLES + 20, 10]
    tasks = small_tasks(3, n_train=[120, 41, 7], n_test=sizes)
    stream = running(small_stream(tasks=tasks, evaluate=evaluate, evaluate_every=every, passes=passes))
    rows = rows_of(Spy({}, problem_of(stream)), stream)
    counted = [sum(row.n for row in rows if row.metric == metric) for metric in ("accuracy", "accuracy_within")]
    assert Schedule.of(stream, 8, "sequential").predicted(sizes, told=True) == tuple(counted)
    assert Schedule.of(stream, 8, "cumulative").predicted(sizes, told=True) == (counted[0], 0)
    spy = Spy({}, problem_of(stream))
    rows_of(spy, stream)
    answered = sum(inputs.shape[1] for inputs, _ in spy.predicted)
    assert sum(Schedule.of(stream, 8, "sequential").predicted(sizes, told=False)) == answered
