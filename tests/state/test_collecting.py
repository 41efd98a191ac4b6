"""What a walk gives: tensors by path, not copied, and one structure that is equal where the states are."""

from __future__ import annotations

import json

import torch
from torch import nn

from nlbench.state import STRUCTURE, collect


class Holder:
    pass


def held(**attributes) -> Holder:
    made = Holder()
    vars(made).update(attributes)
    return made


def test_tensors_are_named_by_where_they_are_held_and_not_copied():
    weight = torch.ones(2)
    own = held(weight=weight, buffer=[(torch.zeros(1), 3)], means={"a": torch.zeros(3)}, module=nn.Linear(2, 1))
    found = collect(own)
    names = {STRUCTURE, "weight", "buffer[0][0]", "means['a']", "module._parameters['weight']", "module._parameters['bias']"}
    assert set(found) == names
    weight += 1
    assert found["weight"].tolist() == [2.0, 2.0]


def test_two_tensors_under_one_path_have_names_of_their_own():
    found = collect(held(structure=torch.zeros(1), **{"a.b": torch.ones(1), "a": held(b=torch.zeros(2))}))
    assert len(found) == 4


def test_equal_states_have_equal_structures():
    first, second = (held(a=[1, 2.5, {"x": torch.zeros(2)}], b={"q", "p", "r"}) for _ in range(2))
    assert torch.equal(collect(first)[STRUCTURE], collect(second)[STRUCTURE])
    second.a[1] = 2.0
    assert not torch.equal(collect(first)[STRUCTURE], collect(second)[STRUCTURE])


def test_the_structure_is_json():
    json.loads(bytes(collect(held(a=float("inf"), b=b"\xff", c=10**400))[STRUCTURE].numpy()))
