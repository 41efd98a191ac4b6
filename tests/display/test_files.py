"""What is said of files: where they lie, and what was done to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlbench.api.data import Verified
from nlbench.api.files import Exported
from nlbench.api.reading import Report
from nlbench.api.validating import Checked
from nlbench.display import files
from nlbench.records.facts import Difference


def said(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    out, err = capsys.readouterr()
    return out.splitlines(), err.splitlines()


def test_only_files_that_break_no_rule_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    files.validated([Checked(Path("a[1].toml"), "stream", ()), Checked(Path("b.toml"), "", ("b.toml: title: is required",))])
    assert said(capsys) == (["a[1].toml: a stream, no rule broken"], [])


def test_only_data_sets_that_are_as_they_should_be_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    files.verified([Verified("mnist", Path("data/MNIST"), 4), Verified("x", None, 0, "x: not found")])
    assert said(capsys) == (["mnist: 4 files verified in data/MNIST"], [])


def test_what_was_skipped_is_a_remark_beside_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files.exported(Exported(Path("all.csv"), 3, ("skipped a",)))
    assert said(capsys) == (["all.csv: 3 records"], ["skipped a"])
    page = tmp_path / "p.html"
    page.write_bytes(b"x" * 1500)
    files.report(Report(page, (tmp_path / "f" / "a.svg", tmp_path / "f" / "a.png"), ("skipped b",)))
    assert said(capsys) == ([f"{page}: 1.5 kB", f"{tmp_path / 'f'}: 2 files"], ["skipped b"])


def test_what_may_go_is_told_from_what_went(capsys: pytest.CaptureFixture[str]) -> None:
    left = {Path("a.parquet"): "superseded"}
    files.pruned(left, deleted=False)
    out, err = said(capsys)
    assert (out, len(err)) == (["superseded  a.parquet"], 1)
    files.pruned(left, deleted=True)
    assert said(capsys) == (["deleted  a.parquet"], [])
    files.pruned({}, deleted=False)
    assert said(capsys) == (["nothing to prune"], [])


def test_differences_are_text_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    files.differences([Difference("a[b]", None, "[/x]")], "[one].parquet", "two.parquet")
    rows = [line.split() for line in said(capsys)[0] if line.strip() and "─" not in line]
    assert rows == [["fact", "[one].parquet", "two.parquet"], ["a[b]", "None", "[/x]"]]
