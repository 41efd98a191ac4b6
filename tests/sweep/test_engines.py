"""Work ends in one of four ways whatever it raises; what is lost is tried again, and an interrupt begins nothing more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine_work import Raising, Square

from nlbench.errors import InterruptedRunError
from nlbench.stopping import Stopping
from nlbench.sweep.engines import TRIES, Ended, Engine, Here, Work, drive, performed, unasked


class Scripted(Engine):
    """Ends work as it is told, `slots` at a time, the last submitted first."""

    slots = 2

    def __init__(self, ways: list[str]) -> None:
        self.ways = ways
        self.waiting: list[int] = []
        self.most = self.interrupts = 0

    def submit(self, number: int, work: Work) -> None:
        self.waiting.append(number)
        self.most = max(self.most, len(self.waiting))

    def ended(self, timeout: float) -> list[Ended]:
        return [Ended(self.waiting.pop(), self.ways.pop(0))]  # type: ignore[arg-type]

    def interrupt(self) -> None:
        self.interrupts += 1


def test_what_work_raises_becomes_how_it_ended() -> None:
    assert performed(3, Square(4)).value == 16
    told, defect, stopped = (performed(0, Raising(kind)) for kind in ("told", "defect", "interrupted"))
    assert (told.how, told.error) == ("failed", "the rule is broken. Mend it.")
    assert defect.how == "failed"
    assert defect.error.startswith("ZeroDivisionError: by zero (")
    assert "work.py, line " in defect.error
    assert stopped.how == "interrupted"

    class Saved:
        def perform(self) -> None:
            raise InterruptedRunError("interrupted in task 2.")

    assert performed(0, Saved()).how == "interrupted"
    assert unasked(stopped).how == "lost"
    assert unasked(told) == told


def test_all_work_is_done_and_never_more_than_the_slots_at_once() -> None:
    engine = Scripted(["done"] * 7)
    ended = list(drive(engine, [Square(n) for n in range(7)], Stopping()))
    assert sorted(work.number for work, _ in ended) == list(range(7))
    assert engine.most == 2


def test_the_next_work_may_depend_on_what_ended() -> None:
    seen: list[int] = []

    def works() -> Iterator[Square]:
        for turn in range(4):
            assert len(seen) >= turn
            yield Square(turn)

    for _, end in drive(Here(), works(), Stopping()):
        seen.append(end.value)
    assert seen == [0, 1, 4, 9]


def test_lost_work_is_tried_again_but_not_for_ever() -> None:
    engine = Scripted(["lost"] * TRIES)
    ((work, end),) = drive(engine, [Square(1)], Stopping())
    assert (work, end.how) == (Square(1), "lost")
    assert engine.ways == []
    again = Scripted(["lost", "done"])
    assert [end.how for _, end in drive(again, [Square(1)], Stopping())] == ["done"]


@pytest.mark.parametrize("how", ["signal", "interrupted"])
def test_an_interrupt_begins_nothing_more_and_awaits_what_runs(how: str) -> None:
    engine, stopping = Scripted(["interrupted" if how == "interrupted" else "done", "interrupted", "done"]), Stopping()
    hows = []
    for _, end in drive(engine, (Square(n) for n in range(9)), stopping):
        hows.append(end.how)
        if how == "signal":
            stopping.signal = 2
    assert len(hows) == 2
    assert engine.interrupts == 1
    assert engine.waiting == []
