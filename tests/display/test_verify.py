"""Verdicts on a terminal: each at once, all in a table, and why of what could not be told."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from consoles import written

from nlbench.display import verify as display
from nlbench.sweep import Outcome
from nlbench.verify import Finding, Judged, claim_of, trial

CLAIM = claim_of(
    {
        "title": "[bold]A title[/]",
        "statement": "S",
        "source": {"paper": "P"},
        "cells": {"one": {"model": "mlp", "stream": "split-digits"}},
        "holds": [{"kind": "value", "of": "one", "equals": 0.5, "band": 0.1}],
    },
    "test.toml",
)
FINDING = Finding(
    "accuracy of one is 0.5 ± 0.1",
    "undecided",
    "12 seeds would tell, if the spread stays",
    0.51,
    0.39,
    0.63,
    (0.4, 0.6),
    None,
    5,
    12,
)
JUDGED = Judged("first", CLAIM, False, (FINDING,), {}, "nlbench verify first")


def test_a_verdict_is_told_at_once_and_again_in_a_table_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        written(monkeypatch, display, "err", terminal=False) as errors,
        written(monkeypatch, display, "out", terminal=False) as text,
    ):
        docket = display.Docket([trial("first", CLAIM, reduced=False)])
        with docket.shown():
            docket.take(JUDGED)
        docket.summary(as_json=False)
    assert "undecided: first: [bold]A title[/]" in errors.getvalue()
    shown = " ".join(text.getvalue().split())
    assert "12 seeds would tell, if the spread stays" in shown
    assert "found: .5100 [.3900, .6300]; must be .4000 to .6000; 5 seeds" in shown


CELLS = {name: {"model": "mlp", "stream": "split-digits"} for name in ("one", "other")}
ORDERS = [{"kind": "order", "above": "one", "below": "other", "metric": metric} for metric in ("forgetting", "average_accuracy")]
TWO = claim_of(CLAIM.model_dump(mode="json", exclude_none=True) | {"cells": CELLS, "holds": ORDERS}, "test.toml")


def told(monkeypatch: pytest.MonkeyPatch, *judged: Judged, width: int = 80) -> str:
    with (
        written(monkeypatch, display, "out", terminal=True, width=width) as text,
        written(monkeypatch, display, "err", terminal=False),
    ):
        docket = display.Docket([])
        for each in judged:
            docket.take(each)
        docket.summary(as_json=False)
    return re.sub(r"\x1b\[[\d;]*m", "", text.getvalue())


def test_a_reduced_number_is_marked_and_lost_seeds_are_told_of_what_holds_too(monkeypatch: pytest.MonkeyPatch) -> None:
    holds = replace(FINDING, verdict="holds", reason="the whole interval is where it must be; 2 seeds of one diverged")
    text = told(monkeypatch, replace(JUDGED, claim=TWO, reduced=True, findings=(holds, holds)))
    assert "first (reduced): holds" in text
    assert "found, reduced: .5100" in text
    assert "2 seeds of one diverged" in text


def test_one_reason_why_nothing_could_be_judged_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Finding("a statement", "not comparable", "one has no data: mnist: not found")
    text = told(monkeypatch, replace(JUDGED, claim=TWO, findings=(nothing, replace(nothing, statement="another"))))
    assert text.count("no data") == 1


def test_published_numbers_are_counted_and_not_listed_where_a_reduced_form_leaves_them_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = [{"kind": "value", "of": "one", "equals": 0.5, "band": 0.1}] * 2
    claim = claim_of(
        TWO.model_dump(mode="json", exclude_none=True) | {"holds": [*numbers, ORDERS[0]], "cells": CELLS}, "test.toml"
    )
    number = Finding("one is 0.5 ± 0.1", "not comparable", "a reduced form claims no published number")
    text = told(monkeypatch, replace(JUDGED, claim=claim, reduced=True, findings=(number, number, FINDING)))
    assert "2 published numbers: in the full form alone" in text
    assert "0.5 ± 0.1" not in text.replace(FINDING.statement, "")


def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    long = replace(FINDING, statement="average accuracy of a-run-of-a-long-name is above that of another-of-a-long-name by 0.05")
    text = told(monkeypatch, replace(JUDGED, findings=(long,)))
    assert max(map(len, text.splitlines())) <= 80


def test_how_far_it_is_says_what_is_run_how_many_are_left_and_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    table = CLAIM.model_dump(mode="json", exclude_none=True)
    runs = {name: {"model": name, "stream": "split-digits"} for name in ("mlp", "er", "chance")}
    holds = [{"kind": "value", "of": name, "equals": 0.5, "band": 0.1} for name in runs]
    asked = trial("first", claim_of(table | {"cells": runs, "holds": holds}, "test.toml"), reduced=False)
    monkeypatch.setattr(display, "monotonic", lambda: 0.0)
    docket = display.Docket([asked], slots=2)
    assert docket.line() == "0 of 3 runs, 0 of 1 claims judged"
    plans = list(asked.plans.values())
    for plan in plans[:2]:
        docket.began(plan)
    assert docket.line() == "0 of 3 runs, 0 of 1 claims judged; running mlp on split-digits, er on split-digits"
    with written(monkeypatch, display, "err", terminal=False) as errors:
        docket.take(Outcome(plans[0], "run", seconds=90.0))
    assert errors.getvalue() == "  1 of 3 runs, 0 of 1 claims judged, about 1:30 left; running er on split-digits\n"
    monkeypatch.setattr(display, "monotonic", lambda: 91.0)
    assert docket.line() == "1 of 3 runs, 0 of 1 claims judged, longer than the runs before; running er on split-digits"


def test_what_a_budget_left_is_said_with_the_way_on(capsys: pytest.CaptureFixture[str]) -> None:
    asked = trial("first", CLAIM, reduced=False)
    docket = display.Docket([asked])
    docket.take(Outcome(asked.plans["one"], "left"))
    docket.summary(as_json=False)
    assert "the budget ended before 1 of 1 runs began; the same command goes on." in capsys.readouterr().err


def test_a_plan_says_what_is_recorded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    display.dry_run([trial("first", CLAIM, reduced=False), trial("second", CLAIM, reduced=True)], tmp_path, as_json=True)
    first, second = json.loads(capsys.readouterr().out)
    assert first["runs"] == [{"run": "one", "model": "mlp", "stream": "split-digits", "seeds": 10, "recorded": 0}]
    assert "no reduced form" in second["obstacle"]
