"""Where files of a user's own lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlbench.specs.placing import code_files, from_here


def test_a_file_is_named_from_the_present_folder_and_not_outside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert from_here("sub/../sub/a.py:Name") == "./sub/a.py:Name"
    assert from_here(str(here / "a.csv")) == "./a.csv"
    assert from_here("../a.csv") == ""
    assert from_here(str(tmp_path / "a.csv")) == ""
    assert from_here("./a\n.csv") == ""
    assert from_here(f"./{'a' * 200}.csv") == ""


def test_files_of_code_are_found_however_deep() -> None:
    said = {"kind": "naive", "rate": 0.1, "network": {"kind": "module", "build": "./a.py:Net"}}
    assert code_files(said, "learner") == {"learner.network.build": "./a.py:Net"}
