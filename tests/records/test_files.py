"""Which files paths name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nlbench import NlbenchError
from nlbench.records import read_records, record_files


def test_record_files_are_named_by_paths_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet", "[c].parquet", "notes.md"):
        (tmp_path / name).touch()
    assert [path.name for path in record_files([str(tmp_path / "?.parquet")])] == ["a.parquet", "b.parquet"]
    assert [path.name for path in record_files([tmp_path])] == ["[c].parquet", "a.parquet", "b.parquet"]
    assert record_files([tmp_path / "[c].parquet"]) == [tmp_path / "[c].parquet"]
    assert record_files([tmp_path / "absent.parquet"]) == [tmp_path / "absent.parquet"]


def test_a_pattern_that_matches_nothing_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.parquet").touch()
    looked = {
        "results/x*.parquet": f"in {tmp_path}/results",
        "x*/y*.parquet": f"in {tmp_path}",
        "absent/*.parquet": f"as there is no folder {tmp_path}/absent",
    }
    for pattern, where in looked.items():
        with pytest.raises(NlbenchError) as refused:
            record_files(["results", pattern])
        assert str(refused.value) == f"{pattern}: matches nothing {where}."


def test_a_file_named_twice_counts_once_in_the_order_of_its_first_name(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    found = record_files([tmp_path / "b.parquet", tmp_path, tmp_path / "sub" / ".." / "a.parquet"])
    assert found == [tmp_path / "b.parquet", tmp_path / "a.parquet"]


def test_references_below_a_folder_count_only_where_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "results" / "reference").mkdir(parents=True)
    for name in ("results/a.parquet", "results/reference/b.parquet"):
        (tmp_path / name).touch()
    for given in (tmp_path / "results", tmp_path / "res*"):
        assert [path.name for path in record_files([given])] == ["a.parquet"]
        assert [path.name for path in record_files([given], references=True)] == ["a.parquet", "b.parquet"]


@pytest.mark.parametrize(
    ("name", "rule"),
    [("x" * 5000, "cannot be looked for: File name too long"), ("a\0b", r"^'a\\x00b': must be the path of a folder or file")],
)
def test_what_no_file_can_be_called_is_one_line(name: str, rule: str) -> None:
    with pytest.raises(NlbenchError, match=rule):
        record_files([name])


def test_links_that_lead_nowhere_and_what_is_no_file_are_named_and_skipped(tmp_path: Path) -> None:
    os.symlink("loop.parquet", tmp_path / "loop.parquet")
    os.symlink("/dev/zero", tmp_path / "zero.parquet")
    os.mkfifo(tmp_path / "pipe.parquet")
    assert len(record_files([tmp_path])) == 3
    with pytest.raises(NlbenchError) as refused:
        read_records([tmp_path])
    for name in ("loop", "zero", "pipe"):
        assert f"skipped {tmp_path / name}.parquet is no file." in str(refused.value)
