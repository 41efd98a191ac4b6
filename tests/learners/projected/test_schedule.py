from __future__ import annotations

import pytest

from nlbench.learners.projected.config import ProjectedConfig
from nlbench.learners.projected.schedule import AT_ONCE, Schedule

SCHEDULES = [
    Schedule((1,), refresh=5, share=2),
    Schedule((3, 1), refresh=16, share=1),
    Schedule((4, 2, 1, 1), refresh=6, share=3),
    Schedule((6, 4, 3, 1), refresh=64, share=1, warm_up=9),
]
EACH = pytest.mark.parametrize("schedule", SCHEDULES, ids=[str(each.periods) for each in SCHEDULES])


def test_a_configuration_has_the_periods_of_its_levels_and_the_read_out_last() -> None:
    table = {"kind": "projected", "levels": [{"width": 4, "period": 8}, {"width": 3, "period": 2}], "refresh": 7, "share": 5}
    made = Schedule.of(ProjectedConfig.model_validate({**table, "keys": {"kind": "random", "warm_up": 3}}))
    assert made == Schedule((8, 2, 1), refresh=7, share=5, warm_up=3)
    assert made.fast == 2
    assert Schedule.of(ProjectedConfig.model_validate(table)).warm_up == 0
    assert Schedule((2, 1, 1), 1, 1).fast == 1


@EACH
def test_pieces_end_where_a_slow_memory_steps_and_nowhere_else(schedule: Schedule) -> None:
    slow = [period for period in schedule.periods if period > 1]
    for before in range(30):
        for chunks in range(1, 9):
            pieces = schedule.parts(before, chunks)
            assert [first for first, _ in pieces] == [0, *(end for _, end in pieces[:-1])]
            assert pieces[-1][1] == chunks
            stepping = {i for i in range(1, chunks) if any((before + i) % period == 0 for period in slow)}
            assert {end for _, end in pieces[:-1]} == stepping


@EACH
@pytest.mark.parametrize("most", [1, 3, 8, 100])
def test_calls_are_of_few_kinds_and_hold_no_refresh_but_after_their_last_chunk(schedule: Schedule, most: int) -> None:
    step, sizes = 0, set()
    while step < 200:
        chunks = schedule.together(step, most)
        assert 1 <= chunks <= max(1, min(most, AT_ONCE))
        assert step % chunks == 0 or chunks == 1
        assert step >= schedule.warm_up or chunks == 1
        assert not any(schedule.protects(step + i) or schedule.solves(step + i) for i in range(1, chunks))
        sizes.add(chunks)
        step += chunks
    assert sizes <= {1, 2, 4, 8}
    assert max(sizes) > 1 or most == 1


@EACH
def test_a_call_takes_as_many_as_it_may(schedule: Schedule) -> None:
    for step in range(schedule.warm_up, 100):
        chunks = schedule.together(step, 100)
        twice = 2 * chunks
        if twice <= AT_ONCE and step % twice == 0:
            assert any(schedule.protects(step + i) for i in range(1, twice))


@EACH
def test_one_kind_of_call_is_one_pattern_of_all_that_falls_due(schedule: Schedule) -> None:
    def pattern(before: int) -> tuple[object, ...]:
        steps = range(before + 1, before + 5)
        memories = range(len(schedule.periods))
        return tuple((schedule.gathers(step), *(schedule.steps(i, step) for i in memories)) for step in steps)

    kinds: dict[tuple[bool, ...], object] = {}
    for before in range(80):
        assert kinds.setdefault(schedule.kind(before, 4), pattern(before)) == pattern(before)
    assert len(kinds) == len(set(kinds.values()))
    assert schedule.kind(0, 4) != schedule.kind(0, 5)


def test_what_is_protected_doubles_its_steps_until_the_first_refresh() -> None:
    schedule = Schedule((2, 1), refresh=12, share=3)
    assert [step for step in range(30) if schedule.protects(step)] == [1, 2, 4, 8, 12, 24]
    assert [step for step in range(30) if schedule.solves(step)] == [1, 2, 4, 8, 12, 24]
    untold = Schedule((1,), refresh=12, share=1, by_readings=False)
    assert [step for step in range(70) if untold.solves(step)] == [1, 2, 4, 8, 16, 32, 64]
    assert [step for step in range(7) if schedule.steps(0, step)] == [2, 4, 6]
    assert [step for step in range(7) if schedule.gathers(step)] == [3, 6]
