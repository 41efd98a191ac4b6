"""Whatever is held, however nested and shared, comes back into whatever a fresh object holds in its place, or is named."""

from __future__ import annotations

import datetime
import enum
import functools
import itertools
import pathlib
import random
import weakref
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nlbench.state import collect, first_difference, obstacles, restore


class Kind(enum.Enum):
    A = "a"
    B = (1, 2)


class Plain:
    def __init__(self, **held: Any) -> None:
        vars(self).update(held)


class Slotted:
    __slots__ = ("first", "second")

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second


class Row(NamedTuple):
    x: Any
    y: Any


class Table(dict):
    pass


class Line(list):
    pass


def fixed(value: Any, more: Any = None) -> Any:
    return value, more


NUMBERS = st.one_of(
    st.integers(), st.floats(), st.complex_numbers(), st.booleans(), st.none(), st.text(max_size=4), st.binary(max_size=4)
)
LEAVES = st.one_of(
    NUMBERS,
    st.sampled_from(
        [Kind.A, Kind.B, Fraction(1, 3), Decimal("1.10"), pathlib.Path("a/b"), pathlib.PureWindowsPath("a"), range(3)]
    ),
    st.sampled_from([torch.float16, torch.Size([2]), torch.device("cpu"), np.dtype("f4"), int, fixed, ...]),
    st.datetimes(),
    st.timedeltas(),
    st.sampled_from([np.float32(0.1), np.int64(7), np.bool_(True), np.str_("é"), np.datetime64("2020-01-01"), np.float64("nan")]),
    st.lists(st.floats(width=32), max_size=3).map(torch.tensor),
    st.lists(st.integers(0, 9), min_size=1, max_size=3).map(lambda n: nn.Parameter(torch.tensor(n, dtype=torch.float64))),
    st.lists(st.integers(0, 9), max_size=3).map(np.array),
    st.integers(0, 3).map(random.Random),
    st.integers(0, 3).map(np.random.default_rng),
    st.integers(0, 3).map(lambda seed: torch.Generator().manual_seed(seed)),
)


def named(items: list[Any]) -> dict[str, Any]:
    return {"ab"[i % 2] * (i + 1): each for i, each in enumerate(items)}


def referring(items: list[Any]) -> Plain:
    one = Plain(items=items)
    return Plain(one=one, again=weakref.ref(one))


SHAPES = (
    list,
    tuple,
    Line,
    functools.partial(deque, maxlen=5),
    named,
    lambda items: Table(named(items)),
    lambda items: OrderedDict(named(items)),
    lambda items: defaultdict(list, named(items)),
    lambda items: Plain(**named(items)),
    lambda items: {(i, Kind.A): each for i, each in enumerate(items)},
    lambda items: {len(items), "b"},
    lambda items: frozenset([len(items)]),
    lambda items: Counter("ab" * len(items)),
    lambda items: Row(items, 1),
    lambda items: Slotted(items, items),
    lambda items: functools.partial(fixed, *items[:1], more=items),
    lambda items: [items, items],
    referring,
)
"""What holds a few items."""


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.sampled_from(SHAPES), st.lists(inner, max_size=3)).map(lambda made: made[0](made[1]))


VALUES = st.recursive(LEAVES, containers, max_leaves=12)


def alike(one: Any, other: Any) -> bool:
    """Whether two values are of one type and hold the same, whatever the package under test thinks of it."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return (one.dtype, one.requires_grad) == (other.dtype, other.requires_grad) and repr(one.tolist()) == repr(other.tolist())
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, float | complex | np.generic):
        return repr(one) == repr(other)
    if isinstance(one, random.Random):
        return one.getstate() == other.getstate()
    if isinstance(one, np.random.Generator):
        return one.bit_generator.state == other.bit_generator.state
    if isinstance(one, torch.Generator):
        return torch.equal(one.get_state(), other.get_state())
    if isinstance(one, functools.partial):
        return one.func is other.func and alike(one.args, other.args) and alike(one.keywords, other.keywords)
    if isinstance(one, weakref.ref):
        return alike(one(), other())
    if isinstance(one, Slotted):
        return alike((one.first, one.second), (other.first, other.second))
    if isinstance(one, Plain):
        return alike(vars(one), vars(other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(alike, one.values(), other.values()))
    if isinstance(one, list | tuple | deque):
        return len(one) == len(other) and all(map(alike, one, other))
    return one == other


@settings(max_examples=150, deadline=None, derandomize=True)
@given(VALUES, VALUES)
def test_what_is_held_comes_back_into_anything(value: Any, before: Any) -> None:
    later, fresh = Plain(held=value), Plain(held=before)
    assert not obstacles(later)
    saved = {name: tensor.clone() for name, tensor in collect(later).items()}
    restore(fresh, saved)
    assert first_difference(saved, collect(fresh)) is None
    assert alike(later.held, fresh.held)


class Grown(float):
    pass


class Moment(datetime.datetime):
    pass


class Marked(tuple):
    pass


class Own(random.Random):
    pass


def marked() -> Marked:
    made = Marked((1,))
    made.seen = 1  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize(
    "value",
    [
        Grown(1),
        Moment(2020, 1, 1),
        pd.Timestamp("2020-01-01 00:00:00.000000001"),
        datetime.datetime(2020, 6, 1, tzinfo=zoneinfo.ZoneInfo("UTC")),
        np.zeros(1, [("a", "f4")])[0],
        np.dtype([("a", "f4")]),
        marked(),
        type("Few", (frozenset,), {})([1]),
        Own(1),
        weakref.ref(Kind, print),
        weakref.WeakSet([Kind]),
        torch.zeros(2, device="meta"),
        torch.ones(2, requires_grad=True) * 2,
        iter([1]),
        map(int, "1"),
        enumerate("a"),
        itertools.count(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_holds_more_than_is_written_is_named(value: object) -> None:
    (line, *_) = obstacles(Plain(held=value))
    assert line.startswith("held")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_tensor_of_tensors_of_unequal_size_is_named() -> None:
    (line,) = obstacles(Plain(held=torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)])))
    assert line == "held: a tensor of a kind of its own, Tensor"
