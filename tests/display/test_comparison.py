"""What is shown of a comparison: drawn where it fits, plain where it is long or goes to no terminal."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from compared_records import learner, spread
from rich.console import Console

from nlbench.comparison import compare
from nlbench.display import comparison, console


def shown(result: object, monkeypatch: pytest.MonkeyPatch, *, terminal: bool, width: int = 200) -> str:
    """Return what is printed of a comparison; both modules write to the same console."""
    text = io.StringIO()
    out = Console(file=text, force_terminal=terminal, width=width, highlight=False, no_color=True)
    for module in (comparison, console):
        monkeypatch.setattr(module, "out", out)
    comparison.comparison(result, "table")
    return text.getvalue()


def test_few_rows_are_drawn_on_a_terminal_and_many_or_elsewhere_are_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = compare([learner(tmp_path, name, spread(final, 10)) for name, final in (("mlp", 0.2), ("a[red]b", 0.8))])
    drawn, plain = (shown(result, monkeypatch, terminal=terminal) for terminal in (True, False))
    assert "─" in drawn
    assert "─" not in plain
    monkeypatch.setattr(comparison, "PRETTY_ROWS", 3)
    assert "─" not in shown(result, monkeypatch, terminal=True)
    for text in (drawn, plain):
        assert "a[red]b" in text
        assert "split-digits: difference from mlp, paired on seeds; Holm over 2 tests" in text
        assert "ranks of average_accuracy over 10 seeds: a[red]b 1.00, mlp 2.00" in text


def test_the_mark_is_explained_where_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = compare([learner(tmp_path, "mlp", spread(0.2, 3))])
    for width, times in ((200, 3), (80, 0)):  # in two columns and below
        assert shown(result, monkeypatch, terminal=True, width=width).count("◆") == times


def test_a_single_learner_has_no_table_of_differences_and_why_streams_stay_apart_is_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = compare([learner(tmp_path, "mlp", spread(0.2, 3))])
    text = shown(replace(result, mismatches=("s: a and b cannot be compared: why",)), monkeypatch, terminal=False)
    assert "difference from" not in text
    assert text.splitlines()[-1] == "s: a and b cannot be compared: why"
