"""What is shown of a run while it happens, and of one that would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from consoles import written

import nlbench
from nlbench import runner
from nlbench.display import running


def test_a_terminal_gets_a_live_bar_and_a_line_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = nlbench.resolve("mlp", "split-digits", seeds=1)
    with (
        written(monkeypatch, running, "err", terminal=True) as text,
        running.progress(plan, tmp_path, (0,), quiet=False) as shown,
    ):
        nlbench.run("mlp", "split-digits", seeds=1, results=tmp_path, listen=shown.row, progress=shown.moment)
    assert "\x1b[" in text.getvalue()
    assert all(f"task {task}/5" in text.getvalue() for task in range(1, 6))
    assert "5/5" in text.getvalue()
    assert "1,438/1,438 samples, loss" in text.getvalue()
    assert "left" in text.getvalue()


def test_a_log_gets_a_line_when_none_was_printed_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = nlbench.resolve("mlp", "split-digits", seeds=1)
    moment = runner.Moment(2, 5, 640, 1438, 0.5, 320.0, 125.4)
    with written(monkeypatch, running, "err") as text, running.progress(plan, tmp_path, (0,), quiet=False) as shown:
        shown.moment(moment)
        shown.printed -= 31
        shown.moment(moment)
        shown.moment(moment)
    assert text.getvalue().splitlines()[1:] == ["  task 2/5, 640/1,438 samples, loss 0.500, 320/s, 2:05 left"]


@pytest.mark.parametrize(("quiet", "missing"), [(True, (0,)), (False, ())])
def test_nothing_is_shown_when_quiet_or_when_nothing_runs(
    quiet: bool, missing: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = nlbench.resolve("mlp", "split-digits", seeds=1)
    with written(monkeypatch, running, "err") as text, running.progress(plan, tmp_path, missing, quiet=quiet) as shown:
        assert shown is None
    assert text.getvalue() == ""


@pytest.mark.parametrize(("evaluate", "whole"), [("window:1", [1, 5]), ("seen", [1, 2, 3, 4, 5])])
def test_accuracy_on_all_tasks_so_far_is_said_where_all_were_measured(
    evaluate: str, whole: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = {"protocol.evaluate": evaluate}
    plan = nlbench.resolve("mlp", "split-digits", seeds=1, overrides=overrides)
    with written(monkeypatch, running, "err") as text, running.progress(plan, tmp_path, (0,), quiet=False) as shown:
        nlbench.run(
            "mlp", "split-digits", seeds=1, results=tmp_path, overrides=overrides, listen=shown.row, progress=shown.moment
        )
    said = [line for line in text.getvalue().splitlines() if "accuracy on it" in line]
    assert [task for task, line in enumerate(said, start=1) if "on all so far" in line] == whole


def test_a_dry_run_shows_names_with_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = nlbench.resolve("mlp", "split-digits", seeds=1)
    estimate = runner.Estimate(3, {}, {"[/kind]": 10}, 1.0)
    with written(monkeypatch, running, "out", width=200) as text:
        running.dry_run(replace(plan, model="a[/b]", declared=replace(plan.declared, name="s[red]")), estimate, as_json=False)
    assert "a[/b] on s[red]: what would run" in text.getvalue()
    assert "[/kind] 10 B" in text.getvalue()
