"""What is shown of what there is to choose from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from consoles import written
from synthetic_records import make_record, matrix, windowed

from nlbench import api
from nlbench.display import listing


def test_a_listed_window_of_one_task_shows_forgetting_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_record(tmp_path / "r.parquet", {0: windowed(matrix(0.6, 0.9)), 1: windowed(matrix(0.6, 0.9))})
    make_record(tmp_path / "whole.parquet", {0: matrix(0.6, 0.9)}, model="cms", fingerprint="cms")
    with written(monkeypatch, listing, "out", width=200) as text:
        listing.listing(api.listing("records", tmp_path))
    assert [("0.300 (first)" in line, "0.300 " in line) for line in text.getvalue().splitlines() if ".parquet" in line] == [
        (True, True),
        (False, True),
    ]


def test_a_listed_record_keeps_its_whole_file_name_however_narrow_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_record(tmp_path / "mlp.split-digits.0123456789abcdef.parquet", {0: matrix(0.6, 0.9)})
    with written(monkeypatch, listing, "out", width=80) as text:
        listing.listing(api.listing("records", tmp_path))
    lines = text.getvalue().splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("model "))
    folded = "".join(line[lines[header].index("file") :].strip() for line in lines[header + 1 :])
    assert folded == "mlp.split-digits.0123456789abcdef.parquet"


def test_folders_and_files_with_brackets_are_shown_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a[/b]c", "ü [x] %41"):
        make_record(tmp_path / folder / "m[i].parquet", {0: matrix(0.6, 0.9)}, model="m[i]", scenario="[/s]")
        monkeypatch.chdir(tmp_path)
        with written(monkeypatch, listing, "out", width=200) as text:
            listing.listing(api.listing("records", folder))
        assert f"records in {folder}" in text.getvalue()
        assert "m[i].parquet" in text.getvalue()
        assert "[/s]" in text.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_of_a_listed_record_is_lost_where_there_is_no_room(
    terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "mlp.split-digits." + "0123456789abcdef" * 5 + ".parquet"
    make_record(tmp_path / name, {0: matrix(0.6, 0.9, 10), 1: matrix(0.7, 0.9, 10)})
    with written(monkeypatch, listing, "out", terminal=terminal, width=40) as text:
        listing.listing(api.listing("records", tmp_path))
    (row,) = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue()).splitlines() if "0123456789abcdef" in line]
    assert row.split()[:4] == ["mlp", "split-digits", "class-il", "2"]
    assert name in row
