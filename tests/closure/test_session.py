"""The identity of a class that no file holds is what it would do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from nlbench import closure
from nlbench.closure import session

CELL = """
import functools
import threading
import numpy as np
import torch
import nlbench
from nlbench.seeds import normal

RATE = 0.1
WEIGHTS = np.arange(3.0)
START = torch.zeros(2)
LOCK = threading.Lock()

def inner(x):
    return x + 1

def helper(x, scale=2):
    return inner(x) * scale

@functools.lru_cache
def cached(x):
    return x + 1

@torch.no_grad()
def graded(x):
    return x + 1

def made(size):
    def width():
        return size
    return width

width = made(8)

class Base(nlbench.Learner):
    def predict(self, inputs, task):
        return inputs * 1

class L(Base):
    momentum = 0.9

    @functools.cached_property
    def rate(self):
        return 7

    def observe(self, batch):
        return helper(batch) * RATE + WEIGHTS + START + cached(1) + graded(2) + width() + normal((0,), "x", (1,))
"""


def defined(text: str, name: str = "L") -> type:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "<cell>", "exec"), namespace)
    return namespace[name]


def digest(text: str, name: str = "L") -> str:
    found = session.reached("__main__:L", defined(text, name))
    assert found.unknown == ()
    return found.digests["__main__:L"]


def test_the_same_definition_is_the_same_wherever_it_stands() -> None:
    assert digest(CELL) == digest(CELL)
    moved = CELL.replace("RATE = 0.1", "# a comment\n\nRATE = (0.1)").replace("x + 1", "x  +  1  # one more")
    assert digest(moved + "\nUNREAD = 3\ndef unread(): ...\n") == digest(CELL)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("helper(batch) * RATE", "helper(batch) / RATE"),
        ("momentum = 0.9", "momentum = 0.5"),
        ("return 7", "return 8"),
        ("return inputs * 1", "return inputs * 0"),
        ("def inner(x):\n    return x + 1", "def inner(x):\n    return x + 2"),
        ("scale=2", "scale=3"),
        ("RATE = 0.1", "RATE = 0.2"),
        ("np.arange(3.0)", "np.arange(3.0) + 1"),
        ("torch.zeros(2)", "torch.ones(2)"),
        ("def cached(x):\n    return x + 1", "def cached(x):\n    return x + 2"),
        ("def graded(x):\n    return x + 1", "def graded(x):\n    return x + 2"),
        ("made(8)", "made(9)"),
        ("class L(Base)", "class L(nlbench.Learner)"),
    ],
)
def test_whatever_it_reads_counts(old: str, new: str) -> None:
    assert old in CELL
    assert digest(CELL.replace(old, new)) != digest(CELL)


def test_what_is_put_into_a_class_later_counts() -> None:
    kind = defined(CELL)
    kind.predict = lambda self, inputs, task: inputs * 0  # type: ignore[attr-defined]
    assert session.reached("__main__:L", kind).digests["__main__:L"] != digest(CELL)


def test_modules_of_one_s_own_count_as_they_were_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # by which Python knows no two files of a second and of a size apart
    monkeypatch.syspath_prepend(tmp_path)
    text = "import beside_session\nclass L:\n    def f(self):\n        return beside_session.scale(1)\n"
    found = []
    for factor in (2, 3, 3):
        (tmp_path / "beside_session.py").write_text(f"def scale(x):\n    return x * {factor}  # {len(found)}\ndef other(): ...\n")
        sys.modules.pop("beside_session", None)
        kind = defined(text)
        (tmp_path / "beside_session.py").write_text("what is there now is not what runs")
        found.append(session.reached("__main__:L", kind).digests["__main__:L"])
    sys.modules.pop("beside_session")
    assert found[0] != found[1] == found[2]


def test_what_it_takes_from_this_package_is_named() -> None:
    found = session.reached("__main__:L", defined(CELL))
    assert {"nlbench.batch", "nlbench.seeds"} <= set(found.package)
    assert not found.files


def test_what_cannot_be_told_from_its_like_is_named() -> None:
    locked = CELL.replace("return helper(batch)", "LOCK.acquire()\n        return helper(batch)")
    assert session.reached("__main__:L", defined(locked)).unknown == ("a lock",)


def test_a_class_that_was_given_is_found_by_its_name_and_the_last_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_GIVEN", {})
    first, second = defined(CELL), defined(CELL)
    assert closure.given("__main__:L") is None
    assert (closure.give(first), closure.given("__main__:L")) == ("__main__:L", first)
    assert (closure.give(second), closure.given("__main__:L")) == ("__main__:L", second)
    local = type("Local", (), {"__module__": "somewhere", "__qualname__": "f.<locals>.Local"})
    assert (closure.give(local), closure.given("somewhere:Local")) == ("somewhere:Local", local)


def test_a_function_that_was_given_is_found_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_GIVEN", {})
    name = closure.give(defined)
    assert name.endswith(":defined")
    assert closure.given(name) is defined
