"""Verdicts on a terminal: each at once, all in a table, and why of what could not be told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from consoles import written

from nlbench.display import verify as display
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
JUDGED = Judged("first", CLAIM, False, (FINDING,), {})


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
    assert "12 seeds" in shown
    assert ".5100 [.3900, .6300]" in shown


def test_a_plan_says_what_is_recorded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    display.dry_run([trial("first", CLAIM, reduced=False), trial("second", CLAIM, reduced=True)], tmp_path, as_json=True)
    first, second = json.loads(capsys.readouterr().out)
    assert first["runs"] == [{"run": "one", "model": "mlp", "stream": "split-digits", "seeds": 10, "recorded": False}]
    assert "no reduced form" in second["obstacle"]
