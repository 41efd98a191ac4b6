from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from nlbench.specs.recipes import merged, mistyped, tables

RECIPE: dict[str, Any] = {
    "learner": {"kind": "mlp", "rate": 0.5, "hidden": [8]},
    "batch": 8,
    "on": {"s": {"rate": 0.25, "batch": 4, "passes": 2}, "split/digits": {"rate": 0.125, "momentum": 0.5}},
}


@pytest.mark.parametrize(
    ("keys", "learner", "batch"),
    [
        ((), {"kind": "mlp", "rate": 0.5, "hidden": [8]}, 8),
        (("u",), {"kind": "mlp", "rate": 0.5, "hidden": [8]}, 8),
        (("s",), {"kind": "mlp", "rate": 0.25, "hidden": [8]}, 4),
        (("split/digits",), {"kind": "mlp", "rate": 0.125, "hidden": [8], "momentum": 0.5}, 8),
        (("split/digits", "s"), {"kind": "mlp", "rate": 0.25, "hidden": [8], "momentum": 0.5}, 4),
    ],
)
def test_the_tables_of_a_stream_apply_there_and_only_there_and_the_last_has_the_last_word(
    keys: tuple[str, ...], learner: dict[str, Any], batch: int
) -> None:
    before = deepcopy(RECIPE)
    passes = {"passes": 2} if "s" in keys else {}
    assert merged(RECIPE, keys) == {"learner": learner, "batch": batch, **passes}
    assert before == RECIPE


@pytest.mark.parametrize("wrong", [{"learner": 3}, {"learner": {}, "on": {"s": 1}}, {"learner": {}, "on": 3}])
def test_what_are_no_tables_is_left_as_it_is_to_be_refused(wrong: dict[str, Any]) -> None:
    assert merged(wrong, ("s",)) == wrong


def test_a_key_that_nearly_names_a_stream_is_told() -> None:
    on = {"split/digit": {}, "split-digit": {}, "split-digits-2": {}, "mine": {}, "permuted/mnist": {}, "./a.py:A/digits": {}}
    lines = mistyped({"on": on}, ["split-digits", "permuted-mnist"], "r")
    assert [line.split(": ")[1] for line in lines] == ['on."split/digit"', 'on."split-digit"']
    assert "Did you mean split/digits?" in lines[0]
    assert tables({"on": on}) == on
