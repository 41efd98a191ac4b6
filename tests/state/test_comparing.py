"""The first thing in which two states differ is named, and nothing is where they do not."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from nlbench.state import collect, first_difference, same


class Holder:
    pass


def held():
    made = Holder()
    made.weight, made.count, made.names, made.rng = torch.zeros(3), 0, {"a": [1, 2]}, random.Random(1)
    made.module = nn.BatchNorm1d(2)
    return made


def taken(value):
    return {name: tensor.clone() for name, tensor in collect(value).items()}


CHANGES = {
    "weight": lambda own: own.weight.add_(1e-30),
    "count": lambda own: setattr(own, "count", 1),
    "names": lambda own: own.names["a"].append(3),
    "rng": lambda own: own.rng.random(),
    "added": lambda own: setattr(own, "added", 1),
    "module.training": lambda own: own.module.eval(),
    "module._buffers['running_mean']": lambda own: own.module(torch.randn(4, 2)),
}


@pytest.mark.parametrize("path", CHANGES)
def test_a_change_is_named(path):
    own = held()
    before = taken(own)
    assert first_difference(before, collect(own)) is None
    CHANGES[path](own)
    assert first_difference(before, collect(own)).startswith(path)


def test_nan_equals_itself_and_minus_zero_not_zero():
    first, second = ({"a": torch.tensor([value])} for value in (float("nan"), float("nan")))
    assert first_difference(first, second) is None
    assert first_difference({"a": torch.tensor([0.0])}, {"a": torch.tensor([-0.0])}) == "a"


def test_of_states_that_are_one_the_owner_is_named():
    first, second = held(), held()
    second.count = 2
    before, after = ({f"1/learner/{name}": value for name, value in taken(own).items()} for own in (first, second))
    assert first_difference(before, before) is None
    assert first_difference(before, after) == "1/learner/count"


WHOLE = (torch.bool, torch.int64)
BROKEN = (torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128)


@pytest.mark.parametrize("dtype", [*WHOLE, *BROKEN])
def test_tensors_are_the_same_where_all_their_bits_are(dtype: torch.dtype) -> None:
    value = torch.arange(12).remainder(5).to(dtype).view(4, 3)
    for one in (value, value.T, value[:0], value[0, 0], value[:1].expand(4, 3)):
        assert same(one, one.clone())
    other = value.clone()
    other[3, 2] = ~other[3, 2] if dtype == torch.bool else other[3, 2] + 1
    assert not same(value, other)
    if dtype in BROKEN:
        assert not same(torch.zeros(2, dtype=dtype), -torch.zeros(2, dtype=dtype))
        unknown = torch.full((2,), float("nan"), dtype=dtype)
        assert same(unknown, unknown.clone())
