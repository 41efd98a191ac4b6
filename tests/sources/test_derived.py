from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nlbench.sources.derived import kept

FACTS = {"files": "1", "version": "2"}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often arrays were made; each time others."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return []


def making(made: list[int]) -> Callable[[], dict[str, np.ndarray]]:
    return lambda: (made.append(len(made)), {"train": np.full((3, 2), made[-1], np.float32)})[1]


def test_what_was_made_of_the_same_facts_is_read_and_of_others_made(made: list[int]) -> None:
    assert [kept(FACTS, making(made))["train"][0, 0] for _ in range(2)] == [0.0, 0.0]
    assert kept({**FACTS, "version": "3"}, making(made))["train"][0, 0] == 1.0


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:50] + b"\xff" * 20 + b[70:]])
def test_a_damaged_file_is_made_again(damage: Callable[[bytes], bytes], made: list[int], tmp_path: Path) -> None:
    kept(FACTS, making(made))
    (path,) = (tmp_path / "nlbench/derived").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert [kept(FACTS, making(made))["train"][0, 0] for _ in range(2)] == [1.0, 1.0]
    assert len(list((tmp_path / "nlbench/derived").iterdir())) == 1


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(made: list[int], tmp_path: Path) -> None:
    (tmp_path / "nlbench").write_text("a file where the folder should be")
    assert [kept(FACTS, making(made))["train"][0, 0] for _ in range(2)] == [0.0, 1.0]
