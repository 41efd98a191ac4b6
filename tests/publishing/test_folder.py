"""A folder of published files: replaced as a whole, and nothing else touched."""

from __future__ import annotations

import json

import pytest

from nlbench.errors import NlbenchError
from nlbench.publishing.folder import MANIFEST, fill


def test_what_is_no_more_goes_and_what_is_of_others_stays(tmp_path):
    folder = tmp_path / "site"
    assert fill(folder, [("a/b", b"1"), ("c", b"22")]) == {"a/b": 1, "c": 2}
    (folder / "CNAME").write_text("numbers.example")
    told: list[int] = []
    fill(folder, [("c", b"3"), ("d", b"4")], told.append)
    assert told == [1, 2]
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {"c", "d", "CNAME", MANIFEST}
    assert (folder / "c").read_bytes() == b"3"


def test_a_manifest_cannot_have_a_file_outside_removed(tmp_path):
    fill(tmp_path / "site", [("a", b"")])
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "site" / MANIFEST).write_text(json.dumps({"files": ["../precious", str(tmp_path / "precious")]}))
    fill(tmp_path / "site", [("a", b"")])
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(NlbenchError, match="holds files that were not published there"):
        fill(tmp_path, [("a", b"")])
    with pytest.raises(NlbenchError, match="is a file"):
        fill(tmp_path / "thesis.tex", [("a", b"")])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / MANIFEST).write_text("{")
    with pytest.raises(NlbenchError, match="cannot be read"):
        fill(tmp_path / "other", [("a", b"")])
    assert list((tmp_path / "other").iterdir()) == [tmp_path / "other" / MANIFEST]


def test_a_disk_that_refuses_is_one_line(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/.a").write_text("")
    with pytest.raises(NlbenchError, match="cannot be written"):
        fill(tmp_path / "site", [(".a/b", b"")])
