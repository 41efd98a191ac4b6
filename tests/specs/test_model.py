"""Closed tables: no unknown key, no other type, nothing that is not finite; and one canonical text of a declaration."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from nlbench.specs.model import Closed, canonical, digest


class Table(Closed):
    rate: float = 0.5
    count: int = 1


BROKEN = ({"rates": 1.0}, {"rate": "0.5"}, {"rate": math.nan}, {"rate": math.inf}, {"count": 1.5}, {"count": True})


@pytest.mark.parametrize("values", BROKEN)
def test_what_a_table_refuses(values):
    with pytest.raises(ValidationError):
        Table.model_validate(values)


def test_a_table_does_not_change():
    with pytest.raises(ValidationError):
        Table().rate = 0.1


def test_the_canonical_text_has_sorted_keys_and_shortest_numbers():
    assert canonical({"b": 0.1, "a": [1, "é"]}) == '{"a":[1,"é"],"b":0.1}'
    assert canonical(Table()) == canonical({"count": 1, "rate": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": math.nan})


def test_a_digest_tells_parts_apart():
    assert digest("a", "b") != digest("ab")
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert len(digest("a")) == 16


class Optional(Closed):
    every: Annotated[int, Field(ge=1)] | None = 7
    rate: float = 0.5
    file: str | None = "a"
    how: Literal["all", "none"] | None = "all"
    inner: Table | None = Table()


def test_none_unsets_a_key_that_may_hold_nothing_and_no_text_of_that_name():
    """TOML has no null."""
    unset = Optional.model_validate({"every": "none", "inner": "none", "file": "none", "how": "none"})
    assert unset == Optional(every=None, inner=None, file="none", how="none")
    with pytest.raises(ValidationError):
        Optional.model_validate({"rate": "none"})
    with pytest.raises(ValidationError):
        Optional.model_validate({"every": "null"})
