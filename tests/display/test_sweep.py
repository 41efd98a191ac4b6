"""What a sweep shows: counts that add up, time left from like cells, and every failure by name."""

from __future__ import annotations

import json
from time import sleep

import pytest
from consoles import written
from small_streams import small_stream

import nlbench
from nlbench.api.sweeping import Costs
from nlbench.display import console
from nlbench.display import sweep as display
from nlbench.sweep import Cell, Outcome, Point

STREAM = small_stream()
RATES = ("0.1", "0.2", "0.3")
POINTS = [
    Point({"learner.rate": rate}, nlbench.resolve("mlp", STREAM, seeds=2, overrides={"learner.rate": rate})) for rate in RATES
]
CHANCE = Point({}, nlbench.resolve("chance", STREAM, seeds=2))
LOST = {1: "task 1, step 2: the loss is nan"}


def outcomes() -> list[Outcome]:
    plans = [point.plan for point in POINTS]
    return [
        Outcome(plans[0], "run", (0,), LOST, notes=("going on after task 1",), seconds=10.0),
        Outcome(plans[1], "failed", error="ValueError: no"),
        Outcome(CHANCE.plan, "run", (0, 1), seconds=2.0),
    ]


def test_counts_add_up_and_failures_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    board = display.Board([*POINTS, CHANCE], slots=2)
    with written(monkeypatch, console, "err", width=200) as told, board.shown():
        for outcome in outcomes():
            board.take(outcome)
    assert told.getvalue().splitlines() == [
        "mlp learner.rate=0.1 on small: going on after task 1",
        "mlp learner.rate=0.1 on small: diverged: seed 1, task 1, step 2: the loss is nan",
        "mlp learner.rate=0.2 on small: failed: ValueError: no",
    ]
    assert board.line() == "3/4 cells, 1 failed, 0:05 left"  # one mlp of 10 s on two workers
    with written(monkeypatch, display, "out") as shown:
        board.summary("results", as_json=False)
    rows = [line.split() for line in shown.getvalue().splitlines()]
    assert ["small", "mlp", "3", "1", "1", "10.0"] in rows
    assert ["small", "chance", "1", "1", "2.0"] in rows
    capsys.readouterr()
    board.summary("results", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in found] == ["run", "failed", "run"]
    assert (found[0]["diverged"], found[0]["seeds_run"], found[1]["error"]) == ({"1": LOST[1]}, [0], "ValueError: no")


def test_a_terminal_gets_a_live_table_and_a_log_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    board = display.Board(POINTS, slots=1)
    with written(monkeypatch, display, "err", terminal=True) as live, board.shown():
        board.take(outcomes()[0])
    assert "1/3 cells" in live.getvalue()
    assert "\x1b[" in live.getvalue()
    board = display.Board(POINTS, slots=1)
    monkeypatch.setattr("nlbench.api.progress.SELDOM", 0.01)
    with written(monkeypatch, display, "err") as log, board.shown():
        board.take(outcomes()[0])
        board.take(outcomes()[1])
        while "2/3" not in log.getvalue():
            sleep(0.01)
    assert "  2/3 cells, 1 failed, 0:10 left" in log.getvalue().splitlines()
    board._since -= 4
    assert board.line() == "2/3 cells, 1 failed, 0:06 left"
    board._since -= 4000
    assert board.line() == "2/3 cells, 1 failed"


def test_a_dry_run_lists_every_cell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [(POINTS[0], Cell(POINTS[0].plan, (), {})), (POINTS[1], Cell(POINTS[1].plan, (0,), LOST))]
    costs = Costs(seconds=75.0, bytes=2_000_000, slots=2, unknown={"odd on small": "no such width"})
    with written(monkeypatch, display, "out", width=160) as shown, written(monkeypatch, console, "err", width=300) as told:
        display.dry_run(cells, costs, as_json=False)
    lines = [line.rstrip() for line in shown.getvalue().splitlines() if "learner.rate" in line]
    assert all(point.plan.fingerprint in line for line, point in zip(lines, POINTS, strict=False))
    assert lines[0].endswith("nothing: it is recorded")
    assert lines[1].endswith("seed 0 (seed 1 diverged)")
    assert "2 cells, 1 to run" in told.getvalue()
    assert "about 1:15 on 2 workers of this machine" in told.getvalue()
    assert "at most 2 MB" in told.getvalue()
    assert "odd on small: not in what follows, as it fails: no such width" in told.getvalue()
    capsys.readouterr()
    display.dry_run(cells, costs, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [cell["missing"] for cell in found["cells"]] == [[], [0]]
    assert found["costs"]["seconds"] == 75.0
