"""Plans in, one outcome each out: nothing runs twice, a failure loses nothing of the others, a budget and a signal end it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from diverging import FAILING, ODD
from small_streams import rows_by_seed, small_stream

import nlbench
from nlbench.errors import InterruptedRunError
from nlbench.plan import Machine, Plan
from nlbench.records import read_record
from nlbench.stopping import Stopping
from nlbench.sweep import Budget, Cell, Here, Needs, Outcome, Policy, running, sweep
from nlbench.sweep.cells import CellWork, Divergences, Made
from nlbench.sweep.local import Local

CPU = Machine(device="cpu")
STREAM = small_stream()


def plan(rate: float, seeds: int = 2) -> Plan:
    return nlbench.resolve("mlp", STREAM, seeds=seeds, overrides={"learner.rate": str(rate)})


def outcomes(plans: list[Plan], results: Path, engine: Any = None, **options: Any) -> list[Outcome]:
    return list(sweep(plans, results, engine or Here(), CPU, **options))


class Noting(Here):
    """Notes what it is given; as if so many ran at once."""

    def __init__(self, slots: int = 1) -> None:
        super().__init__()
        self.slots = slots
        self.seeds: list[tuple[int, ...]] = []

    def submit(self, number: int, work: Any) -> None:
        self.seeds.append(work.plan.seeds)
        super().submit(number, work)


def test_what_is_recorded_is_passed_by_and_only_missing_seeds_run(tmp_path: Path) -> None:
    nlbench.run("mlp", STREAM, seeds=2, results=tmp_path, overrides={"learner.rate": "0.1"}, device="cpu")
    nlbench.run("mlp", STREAM, seeds="1,", results=tmp_path, overrides={"learner.rate": "0.2"}, device="cpu")
    engine = Noting()
    found = outcomes([plan(0.1), plan(0.2), plan(0.3), plan(0.3)], tmp_path, engine)
    assert [(one.state, one.seeds_run) for one in found] == [("recorded", ()), ("run", (0,)), ("run", (0, 1))]
    assert engine.seeds == [(0,), (0, 1)]
    assert [one.state for one in outcomes([plan(0.1), plan(0.2), plan(0.3)], tmp_path)] == ["recorded"] * 3
    assert [one.state for one in outcomes([plan(0.1)], tmp_path, policy=Policy(force=True))] == ["run"]


def test_seeds_are_split_only_where_workers_would_idle(tmp_path: Path) -> None:
    whole, split = Noting(2), Noting(5)
    outcomes([plan(0.1, 4), plan(0.2, 4)], tmp_path / "whole", whole)
    (one, two) = outcomes([plan(0.1, 4), plan(0.2, 4)], tmp_path / "split", split)
    assert whole.seeds == [(0, 1, 2, 3)] * 2
    assert split.seeds == [(0, 1), (2, 3)] * 2
    assert one.seeds_run == two.seeds_run == (0, 1, 2, 3)
    records = [read_record(plan(0.1).record_path(tmp_path / name)) for name in ("whole", "split")]
    assert rows_by_seed(records[0]) == rows_by_seed(records[1])


def test_a_cell_goes_on_as_it_was_dealt_out_when_more_cells_were_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CellWork, "perform", lambda work: Made(work.plan.seeds, {}, []))
    path = plan(0.1, 4).checkpoint_path(tmp_path)
    path.parent.mkdir()
    path.touch()
    resumed, anew, forced = Noting(2), Noting(2), Noting(2)
    outcomes([plan(0.1, 4)], tmp_path, resumed)
    outcomes([plan(0.2, 4)], tmp_path, anew)
    outcomes([plan(0.1, 4)], tmp_path, forced, policy=Policy(force=True))
    assert (resumed.seeds, anew.seeds, forced.seeds) == ([(0, 1, 2, 3)], [(0, 1), (2, 3)], [(0, 1, 2, 3)])


def test_a_cell_that_fails_or_diverges_loses_nothing_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    (tmp_path / "failing.py").write_text(FAILING)
    odd = nlbench.resolve(f"{tmp_path / 'odd.py'}:Odd", STREAM, seeds=3)
    failing = nlbench.resolve(f"{tmp_path / 'failing.py'}:Failing", STREAM, seeds=1)
    plans = [failing, odd, replace(odd, seeds=(1, 3)), plan(0.1)]
    found = outcomes(plans[:2] + plans[3:], tmp_path / "r")
    assert [one.state for one in found] == ["failed", "run", "run"]
    assert "no such width" in found[0].error
    assert (found[1].seeds_run, list(found[1].diverged)) == ((0, 2), [1])
    again = Noting()
    assert [one.state for one in outcomes(plans[:2] + plans[3:], tmp_path / "r", again)] == ["recorded", "recorded", "failed"]
    assert again.seeds == [(0,)]  # of the one that failed: what diverged is known
    more = outcomes([replace(odd, seeds=(0, 1, 2, 3))], tmp_path / "r")
    assert [(one.state, list(one.diverged)) for one in more] == [("diverged", [1, 3])]
    assert list(read_record(odd.record_path(tmp_path / "r")).footer.lost) == [1, 3]


def test_with_stop_a_cell_of_which_a_seed_diverges_has_no_record(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    odd = nlbench.resolve(f"{tmp_path / 'odd.py'}:Odd", STREAM, seeds=4)
    engine, stop = Noting(8), Policy(on_divergence="stop")
    found = outcomes([odd], tmp_path / "r", engine, policy=stop)
    assert [(one.state, list(one.diverged)) for one in found] == [("diverged", [1, 3])]
    assert engine.seeds == [(0, 1, 2, 3)]
    assert not list((tmp_path / "r").glob("*.parquet"))
    idle = Noting()
    assert [one.state for one in outcomes([odd], tmp_path / "r", idle, policy=stop)] == ["diverged"]
    assert idle.seeds == []
    assert [one.seeds_run for one in outcomes([odd], tmp_path / "r")] == [(0, 2)]  # masked, what was stopped goes on
    forced = outcomes([odd], tmp_path / "r", policy=Policy(force=True, on_divergence="stop"))
    assert [one.state for one in forced] == ["diverged"]


def test_a_budget_of_cells_or_time_begins_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [plan(rate) for rate in (0.1, 0.2, 0.3)]
    assert [one.state for one in outcomes(plans, tmp_path, budget=Budget(cells=1))] == ["run", "left", "left"]
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(running, "monotonic", lambda: next(clock))
    assert [one.state for one in outcomes(plans, tmp_path, budget=Budget(seconds=15))] == ["recorded", "run", "left"]


def test_a_signal_ends_the_sweep_and_the_same_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Signalled(Stopping):
        def __enter__(self) -> Signalled:
            made.append(self)
            return self

        def __exit__(self, *raised: object) -> None: ...

    made: list[Stopping] = []
    monkeypatch.setattr(running, "Stopping", Signalled)
    plans = [plan(rate) for rate in (0.1, 0.2, 0.3)]

    def until_one(found: Iterator[Outcome]) -> None:
        for one in found:
            assert one.state == "run"
            made[-1].signal = 15

    with pytest.raises(InterruptedRunError, match=r"interrupted after 1 of 3 cells\. .* the same command goes on") as caught:
        until_one(sweep(plans, tmp_path, Here(), CPU))
    assert caught.value.exit_code == 143
    engine = Noting()
    assert [one.state for one in outcomes(plans, tmp_path, engine)] == ["recorded", "run", "run"]
    assert len(engine.seeds) == 2


def test_an_interrupted_cell_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(work: CellWork) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(CellWork, "perform", interrupted)
    with pytest.raises(InterruptedRunError, match="interrupted after 0 of 2 cells"):
        outcomes([plan(0.1), plan(0.2)], tmp_path)


def test_a_record_says_later_that_seeds_diverged_of_which_it_has_none(tmp_path: Path) -> None:
    """A part of a cell of which every seed diverged writes no record itself."""
    done = nlbench.run("mlp", STREAM, seeds=1, results=tmp_path, device="cpu")
    Divergences.of(nlbench.resolve("mlp", STREAM, seeds=2), tmp_path).add({1: "task 1, step 2: the loss is nan"})
    assert Cell.of(nlbench.resolve("mlp", STREAM, seeds=2), tmp_path).missing == ()
    nlbench.records.note_diverged(done.path, {0: "not: it is recorded", 1: "task 1, step 2: the loss is nan"})
    before = done.path.read_bytes()
    assert read_record(done.path).footer.lost == {1: "task 1, step 2: the loss is nan"}
    nlbench.records.note_diverged(done.path, {1: "again"})
    assert done.path.read_bytes() == before


def test_a_second_signal_while_workers_end_is_noted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Signalling(Here):
        def submit(self, number: int, work: Any) -> None:
            super().submit(number, work)
            os.kill(os.getpid(), signal.SIGINT)

        def close(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
    try:
        with pytest.raises(InterruptedRunError, match=r"interrupted after \d of 2 cells"):
            outcomes([plan(0.1), plan(0.2)], tmp_path, Signalling())
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_damaged_record_fails_its_cell_alone(tmp_path: Path) -> None:
    plans = [plan(0.1), plan(0.2)]
    damaged = plans[0].record_path(tmp_path)
    damaged.write_bytes(b"PAR1 and no more")
    found = outcomes(plans, tmp_path)
    assert [one.state for one in found] == ["failed", "run"]
    assert f"{damaged} is not a Parquet file" in found[0].error


def test_what_cannot_be_noted_fails_its_cell_alone(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    odd = nlbench.resolve(f"{tmp_path / 'odd.py'}:Odd", STREAM, seeds=2)
    results = tmp_path / "r"
    results.mkdir()
    (results / ".diverged").write_text("no folder")
    found = outcomes([odd, plan(0.1)], results)
    assert [one.state for one in found] == ["failed", "run"]
    assert ".diverged" in found[0].error


def test_what_another_sweep_recorded_meanwhile_is_recorded(tmp_path: Path) -> None:
    class Late(Noting):
        def submit(self, number: int, work: Any) -> None:
            nlbench.run("mlp", STREAM, seeds=2, results=tmp_path, overrides={"learner.rate": "0.1"}, device="cpu")
            super().submit(number, work)

    assert [(one.state, one.seeds_run) for one in outcomes([plan(0.1)], tmp_path, Late())] == [("recorded", ())]


@pytest.mark.slow
def test_workers_write_into_an_object_store_what_diverged_too(tmp_path: Path) -> None:
    pytest.importorskip("moto")
    from object_store import store

    from nlbench.places import place

    (tmp_path / "odd.py").write_text(ODD)
    plans = [plan(0.1), plan(0.2), nlbench.resolve(f"{tmp_path / 'odd.py'}:Odd", STREAM, seeds=3)]
    with store() as url:
        results = place(f"{url}/results")
        found = outcomes(plans, results, Local(2, Needs(threads=1)))
        assert sorted(one.state for one in found) == ["run"] * 3
        assert {seed for one in found for seed in one.diverged} == {1}
        assert read_record(plans[2].record_path(results)).footer.lost.keys() == {1}
        assert [one.state for one in outcomes(plans, results)] == ["recorded"] * 3
