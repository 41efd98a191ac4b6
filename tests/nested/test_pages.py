"""The pages on equations and seed systems name only tests and modules that exist."""

import re
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
