from __future__ import annotations

import io
import sys
from types import ModuleType

import pytest
from small_streams import small_stream

import nlbench
from nlbench.api import progress
from nlbench.runner import Moment

MOMENT = Moment(1, 3, 40, 120, 0.25, 20.0, 4.0)
LAST = Moment(3, 3, 120, 120, 0.125, 20.0, 0.0)
TEXT = "mine: task 1/3, 40/120 samples, loss 0.250, 20/s, 0:04 left"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_duration_is_in_minutes_and_seconds_or_hours():
    assert [progress.clock(seconds) for seconds in (0.4, 59.6, 125, 3725)] == ["0:00", "1:00", "2:05", "1:02:05"]


def test_what_is_not_known_is_left_out():
    assert progress.in_words(Moment(1, 3, 0, 120, None, None, None)) == "task 1/3, 0/120 samples"


def test_a_terminal_sees_the_latest_moment_over_the_one_before():
    out = Terminal()
    shown = progress.Line("mine", out)
    shown(MOMENT)
    shown(LAST)
    first, second = out.getvalue().split("\r")[1:]
    assert first == TEXT
    assert second.endswith("\n")
    assert len(second.rstrip("\n")) >= len(first)


def test_a_notebook_is_as_a_terminal(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    out = io.StringIO()
    progress.Line("mine", out)(MOMENT)
    assert out.getvalue() == f"\r{TEXT}"


def test_a_log_gets_one_line_in_thirty_seconds(monkeypatch):
    out, clock = io.StringIO(), [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: clock[0])
    shown = progress.Line("mine", out)
    for now in (1.0, 29.0, 31.0, 45.0, 62.0):
        clock[0] = now
        shown(MOMENT)
    assert out.getvalue().splitlines() == [TEXT] * 2


def test_a_function_is_called_with_moments_up_to_the_last_sample(tmp_path):
    moments: list[Moment] = []
    nlbench.run("mlp", small_stream(), seeds=2, results=tmp_path, progress=moments.append, device="cpu")
    samples = [moment.samples for moment in moments]
    assert samples == sorted(samples)
    assert {40, 80, 120} <= set(samples)
    last = moments[-1]
    assert (last.task, last.samples, last.total) == (3, 120, 120)
    assert last.loss is not None
    assert last.rate is not None
    assert last.left == 0.0


def test_nothing_is_shown_unless_it_is_asked_for(tmp_path, capsys):
    nlbench.run("chance", small_stream(), seeds=1, results=tmp_path, device="cpu")
    assert capsys.readouterr() == ("", "")


def test_an_unknown_keyword_names_progress_where_it_is_near(tmp_path):
    with pytest.raises(nlbench.NlbenchError, match="Did you mean progress"):
        nlbench.run("chance", small_stream(), progres=True)
