"""Which cases of a test are quick. Conformance asks a recipe of each kind of learner of every rule; other properties a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import pytest
from _pytest.mark import ParameterSet

from nlbench import catalog
from nlbench.specs import read_table

RECIPES = catalog.names("model")


def quick_if(quick: bool, *values: object) -> ParameterSet:
    """Return a case that is slow unless it is a quick one."""
    return pytest.param(*values, marks=() if quick else pytest.mark.slow)


def recipes(quick: Iterable[str]) -> list[ParameterSet]:
    """Return every recipe, slow but for the quick ones."""
    return [quick_if(recipe in set(quick), recipe) for recipe in RECIPES]


@cache
def sampled() -> frozenset[str]:
    """Return the first recipe of each room of learners: of a package such as `replay`, or of a module that stands alone."""
    return _first(lambda kind: catalog.place("learners", kind)[0].split(".")[2])


@cache
def of_each_kind() -> frozenset[str]:
    """Return the first recipe of each kind of learner."""
    return _first(lambda kind: kind)


def _first(of: Callable[[str], str]) -> frozenset[str]:
    found: dict[str, str] = {}
    for recipe in RECIPES:
        found.setdefault(of(read_table(catalog.find("model", recipe))["learner"]["kind"]), recipe)
    return frozenset(found.values())
