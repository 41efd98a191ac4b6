"""A recipe's tables for streams: which apply to one, and what they say there.

`[on."split-digits"]` holds where a stream of that name is learned, and `[on."split/digits"]` wherever a stream of kind `split` is
cut from the source `digits`, whatever it is called; a stream's name holds no slash, so that neither is taken for the other. Where
both are given, the one of the name has the last word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from itertools import product
from typing import Any, Final

from nlbench import catalog

Table = dict[str, Any]

TERMS: Final = ("batch", "passes", "boundaries")
"""What a recipe may decide of how the learner is presented its samples; the rest of an `[on]` table is of `[learner]`."""


def tables(recipe: Mapping[str, Any]) -> Table:
    """Return the `[on]` tables of a recipe by key; none where they are no tables, which `learner_spec` refuses."""
    on = recipe.get("on", {})
    return on if isinstance(on, dict) and all(isinstance(values, dict) for values in on.values()) else {}


def merged(recipe: Mapping[str, Any], keys: Iterable[str]) -> Table:
    """Return a recipe with its `[on]` tables of these keys merged over `[learner]` and the terms, later ones over earlier
    ones, and with no other.
    """
    on, learner = tables(recipe), recipe.get("learner", {})
    values: Table = {}
    for key in keys:
        values |= on.get(key, {})
    if not isinstance(learner, dict) or on != recipe.get("on", {}):
        return dict(recipe)
    outer = {key: value for key, value in recipe.items() if key != "on"}
    terms: Table = {key: values.pop(key) for key in TERMS if key in values}
    return {**outer, **terms, "learner": {**learner, **values}}


def mistyped(recipe: Mapping[str, Any], streams: Collection[str], place: str) -> list[str]:
    """Return one line per `[on]` table whose stream is not known but nearly bears a known one's name. Other names are streams of
    the user's own, as are those that hold a known name whole: `split-digits-2`.
    """
    kinds = set(map("/".join, product(catalog.STREAMS, catalog.SOURCES)))
    lines = []
    for name in tables(recipe):
        known = kinds if "/" in name else {*streams}
        meant = [] if name in known else get_close_matches(name, sorted(known), n=1, cutoff=0.85)
        if meant and meant[0] not in name:
            lines.append(f'{place}: on."{name}": unknown stream {name!r}. Did you mean {meant[0]}? If it is your own, rename it.')
    return lines
