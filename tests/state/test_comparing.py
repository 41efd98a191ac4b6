"""The first thing in which two states differ is named, and nothing is where they do not."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from nlbench.state import collect, first_difference


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
