"""Answers kept by contents."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlbench.closure import kept
from nlbench.closure.kept import SyntaxCache
from nlbench.closure.syntax import read

TEXT = b"from a import b\nimport c\n__all__ = ['b']\n"


def test_an_answer_is_kept_for_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SyntaxCache(tmp_path / "new" / "folder")
    assert first.source(TEXT, "a.py") == read(TEXT, "a.py")
    assert first.source(b"x = 1", "b.py") == read(b"x = 1", "b.py")
    first.save()
    monkeypatch.setattr(kept, "read", lambda *_: pytest.fail("read again"))
    assert SyntaxCache(tmp_path / "new" / "folder").source(TEXT, "a.py") == read(TEXT, "a.py")
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == [f"syntax-{kept.FORM}.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "[" * 100_000])
def test_a_broken_cache_only_costs_time(tmp_path: Path, content: str) -> None:
    (tmp_path / f"syntax-{kept.FORM}.json").write_text(content)
    cache = SyntaxCache(tmp_path)
    assert cache.source(TEXT, "a.py") == read(TEXT, "a.py")
    cache.save()
    assert SyntaxCache(tmp_path).source(TEXT, "a.py") == read(TEXT, "a.py")


def test_a_place_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = SyntaxCache(tmp_path / "file" / "below")
    assert cache.source(TEXT, "a.py") == read(TEXT, "a.py")
    cache.save()
    homeless = SyntaxCache(Path("~/.cache"))
    homeless.source(TEXT, "a.py")
    homeless.save()
    assert not Path("~").exists()


def test_the_oldest_answers_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_MOST", 2)
    cache = SyntaxCache(tmp_path)
    for number in range(3):
        cache.source(f"x = {number}".encode(), "a.py")
    cache.save()
    seen = []
    monkeypatch.setattr(kept, "read", lambda content, place: (seen.append(content), read(content, place))[1])
    again = SyntaxCache(tmp_path)
    for number in range(3):
        again.source(f"x = {number}".encode(), "a.py")
    assert seen == [b"x = 0"]
