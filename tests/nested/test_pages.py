"""The pages on equations and seed systems name only tests and modules that exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS: dict[str, set[str]] = {}
for path in (ROOT / "tests").rglob("test_*.py"):
    TESTS.setdefault(path.name, set()).update(re.findall(r"def (test_\w+)", path.read_text()))


def unknown_tests(text: str) -> list[str]:
    """Every `file.py::test` and, in the same table cell, `::test` of the file before it, that is no test."""
    missing = []
    for cell in text.split("|"):
        file = ""
        for named, test in re.findall(r"`(?:tests/)?(?:\w+/)*(test_\w+\.py)?(?:::(test_\w+))?`", cell):
            file = named or file
            if test and test not in TESTS.get(file, ()):
                missing.append(f"{file}::{test}")
    return missing


@pytest.mark.parametrize("page", ["equations.md", "seeds.md"])
def test_every_named_test_exists(page):
    text = (ROOT / "docs" / page).read_text()
    assert unknown_tests(text) == []
    assert set(re.findall(r"tests/(?:\w+/)+(test_\w+\.py)", text)) <= TESTS.keys()


def test_a_missing_test_is_noticed():
    assert unknown_tests("| `test_clocks.py::test_nothing`, `::test_periods_must_be_distinct_and_positive` |") == [
        "test_clocks.py::test_nothing"
    ]


def selecting_nothing(text: str) -> list[str]:
    """Every word of a `pytest FILES -k "word or word"` of the page that no test of these files has in its name."""
    commands = re.findall(r"`pytest ((?:tests/[^\s`]+ ?)+)(?:-k \"?([^\"`]+)\"?)?`", text)
    assert len(commands) == text.count("`pytest ")
    files = sorted({file for found, _ in commands for file in found.split()})
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0", "-m", "", "-p", "no:cacheprovider", *files]
    tests = subprocess.run(collect, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [
        f"{found}: {word}"
        for found, words in commands
        for word in (words or "test_").split(" or ")
        if not any(word in test and test.startswith(tuple(found.split())) for test in tests)
    ]


@pytest.mark.slow
def test_every_pytest_command_selects_tests():
    text = (ROOT / "docs" / "seeds.md").read_text()
    assert text.count("`pytest ") > 30
    nothing = '`pytest tests/nested/test_clocks.py -k "periods or nothing_at_all"`'
    assert selecting_nothing(text + nothing) == ["tests/nested/test_clocks.py : nothing_at_all"]
