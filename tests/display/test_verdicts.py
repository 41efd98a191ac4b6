"""What is shown of the gate's judgements."""

from __future__ import annotations

import json

import pytest
from consoles import written

from nlbench.display import verdicts
from nlbench.gate import Finding, Judgement, Update, Verdict


def judgement(verdict: Verdict) -> Judgement:
    finding = Finding("forgetting", verdict, "reason [red].", margin=0.02)
    return Judgement("new.parquet", "old.parquet", "hope", "split-digits", (finding,), (), {})


@pytest.mark.parametrize(("verdict", "style"), [("ok", "\x1b[1;34m"), ("worse", "\x1b[1;38;2;230;97;1m"), ("missing", "\x1b[1m")])
def test_a_verdict_has_its_colour_and_its_reason_is_no_markup(
    verdict: Verdict, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    with written(monkeypatch, verdicts, "out", terminal=True) as text:
        verdicts.judgements([judgement(verdict)], as_json=False)
    (line,) = [line for line in text.getvalue().splitlines() if "reason" in line]
    assert line.startswith(style)
    assert "forgetting: reason [red]." in line


def test_json_is_all_that_json_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    verdicts.judgements([judgement("worse"), judgement("ok")], as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["exit_status"] == 1
    assert [one["exit_status"] for one in found["judgements"]] == [1, 0]


def test_updates_say_what_stands_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    verdicts.updates([Update("a.parquet", True, "it is better."), Update("b.parquet", False, "it is as good.")])
    assert capsys.readouterr().out == "a.parquet: written: it is better.\nb.parquet: kept: it is as good.\n"
