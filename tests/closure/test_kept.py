"""Answers kept by contents."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import pytest

from nlbench.closure import kept
from nlbench.closure.kept import SyntaxCache
from nlbench.closure.syntax import read

TEXT = b"from a import b\nimport c\n__all__ = ['b']\n"


def test_an_answer_is_kept_for_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new" / "folder").mkdir(parents=True)
    (tmp_path / "new" / "folder" / "syntax-of-another-reader.json").write_text("{}")
    first = SyntaxCache(tmp_path / "new" / "folder")
    assert first.source(TEXT, "a.py") == read(TEXT, "a.py")
    assert first.source(TEXT, "a.py", by_name=True) == read(TEXT, "a.py", by_name=True) != read(TEXT, "a.py")
    first.save()
    monkeypatch.setattr(kept, "read", lambda *_: pytest.fail("read again"))
    again = SyntaxCache(tmp_path / "new" / "folder")
    assert again.source(TEXT, "a.py") == read(TEXT, "a.py")
    assert again.source(TEXT, "a.py", by_name=True) == read(TEXT, "a.py", by_name=True)
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == [kept.FILE]


KEY = blake2b(TEXT, digest_size=16).hexdigest()


@pytest.mark.parametrize(
    "cut", ["1", "[]", '["a", [], {}]', '["a", 1, null, null]', '["a", [[]], null, null]', '["a", [], [], []]']
)
def test_an_answer_that_was_cut_is_found_anew(tmp_path: Path, cut: str) -> None:
    (tmp_path / kept.FILE).write_text(f'{{"{KEY}": {cut}}}')
    assert SyntaxCache(tmp_path).source(TEXT, "a.py") == read(TEXT, "a.py")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "[" * 100_000])
def test_a_broken_cache_only_costs_time(tmp_path: Path, content: str) -> None:
    (tmp_path / kept.FILE).write_text(content)
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
    monkeypatch.setattr(kept, "read", lambda content, place, **how: (seen.append(content), read(content, place, **how))[1])
    again = SyntaxCache(tmp_path)
    for number in range(3):
        again.source(f"x = {number}".encode(), "a.py")
    assert seen == [b"x = 0"]
