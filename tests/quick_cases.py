"""Which cases of a test are quick: of recipes, one of each room of learners. The others are slow."""

from __future__ import annotations

from collections.abc import Iterable
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
    found: dict[str, str] = {}
    for recipe in RECIPES:
        kind = read_table(catalog.find("model", recipe))["learner"]["kind"]
        found.setdefault(catalog.place("learners", kind)[0].split(".")[2], recipe)
    return frozenset(found.values())
