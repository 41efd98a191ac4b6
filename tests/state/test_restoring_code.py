"""Functions, methods and members of enumerations come back, and no file makes code that a fresh object does not hold."""

from __future__ import annotations

import itertools
import math
import random
import sys
import types
from collections import Counter, deque
from enum import Enum, Flag

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from held_values import holder, same_again, saved
from torch import nn

from nlbench.state import UnlikeError, collect, first_difference, obstacles, restore


def test_methods_of_built_in_objects_go_on():
    later, fresh = (holder(draw=random.Random(0).random, samples=[]) for _ in range(2))
    for own in (later, fresh):
        own.add = own.samples.append
    later.draw(), later.add(5)
    restore(fresh, saved(later))
    fresh.add(6)
    assert fresh.samples == [5, 6]
    assert fresh.draw() == later.draw()
    assert "count" in obstacles(holder(next=itertools.count().__next__))[0]


class Mode(Flag):
    A = 1
    B = 2


def test_combined_flags_and_counters_are_made():
    fresh = holder()
    restore(fresh, saved(holder(mode=Mode.A | Mode.B, none=Mode(0), c=Counter("aab"))))
    assert (fresh.mode, fresh.none, fresh.c) == (Mode.A | Mode.B, Mode(0), Counter("aab"))


def test_functions_of_one_name_are_told_apart():
    def choose(first):
        return (lambda x: x + 1) if first else (lambda x: x - 1)

    later, fresh = holder(f=choose(True)), holder(f=choose(False))
    with pytest.raises(UnlikeError, match="f: holds the function"):
        restore(fresh, saved(later))
    restore(other := holder(f=choose(True)), saved(later))
    assert other.f(1) == 2


def test_hooks_stay_those_of_the_fresh_one():
    def made():
        own = holder(m=nn.Linear(2, 2), seen=[])
        own.m.register_forward_hook(lambda module, inputs, output: own.seen.append(1))
        return own

    later, fresh = made(), made()
    later.m(torch.ones(2))
    restore(fresh, saved(later))
    fresh.m(torch.ones(2))
    assert fresh.seen == [1, 1]
    later.m.register_forward_hook(print)
    with pytest.raises(UnlikeError, match=r"m\._forward_hooks: other hooks"):
        restore(made(), saved(later))
    later = made()
    later.m.weight.register_hook(print)
    with pytest.raises(UnlikeError, match="other hooks"):
        restore(made(), saved(later))


Stage = Enum("Stage", {"SEEN": [], "LEFT": 0})


def test_what_members_of_an_enumeration_hold_is_held():
    later = holder(stage=Stage.SEEN, other={Stage.LEFT: Stage.SEEN})
    before = saved(later)
    Stage.SEEN.value.append(torch.ones(1))
    Stage.LEFT.count = 3
    assert first_difference(before, collect(later)) is not None
    after = saved(later)
    Stage.SEEN.value.clear()
    Stage.LEFT.count = 0
    restore(fresh := holder(), after)
    assert fresh.stage is Stage.SEEN
    assert (Stage.SEEN.value[0].tolist(), Stage.LEFT.count) == ([1.0], 3)
    restore(fresh, before)
    assert Stage.SEEN.value == []


def test_built_in_functions_come_back_as_keys_and_values():
    made = {len: 1, torch.relu: max, math.sqrt: [sum, F.gelu, torch.Tensor, np.mean, ...], "loss": F.mse_loss}
    fresh = holder(held=dict(made))
    restore(fresh, saved(holder(held=made)))
    assert fresh.held == made
    without = {key: value for key, value in made.items() if key is not math.sqrt} | {"deque": deque, "picked": {sum, None}}
    for found in same_again(lambda: dict(without)):
        assert found == without


def test_code_of_others_that_does_more_than_compute_is_made_by_no_file():
    for code in (open, exec, print, torch.from_file, np.save):
        with pytest.raises(UnlikeError, match="which a fresh one does not"):
            restore(holder(held=None), saved(holder(held=code)))


LAID = """
import enum


class Side(enum.Enum):
    LEFT = 1
    RIGHT = []


class Note:
    pass


def half(value):
    return value / 2


class Keeper:
    def __init__(self):
        self.note = Note()
        self.kept = {Note(): half}
        self.table = {}
"""


def laid(name, monkeypatch):
    """A module of a name that is loaded from nowhere."""
    module = types.ModuleType(name)
    exec(LAID, vars(module))
    monkeypatch.setitem(sys.modules, name, module)
    return module


@pytest.mark.parametrize(("then", "now"), [("laid", "laid@/a/folder/laid.py"), ("laid@/a/laid.py", "laid"), ("__main__x", "a.b")])
def test_a_class_in_a_module_of_another_name_takes_over_all_that_lay_there(then, now, monkeypatch):
    module = laid(then, monkeypatch)
    later = module.Keeper()
    later.table = {module.half: module.Side.RIGHT, "notes": [module.Note()], "kind": module.Note, "laid:Note": "laid:Note"}
    state = saved(later)
    monkeypatch.delitem(sys.modules, then)
    module = laid(now, monkeypatch)
    fresh = module.Keeper()
    note, kept = fresh.note, list(fresh.kept)
    restore(fresh, state)
    assert fresh.note is note
    assert list(fresh.kept) == kept
    assert type(fresh.table["notes"][0]) is fresh.table["kind"] is module.Note
    assert fresh.table[module.half] is module.Side.RIGHT
    assert fresh.table["laid:Note"] == "laid:Note"


def test_a_class_that_is_called_otherwise_is_another(monkeypatch):
    state = saved(laid("laid", monkeypatch).Keeper())
    with pytest.raises(UnlikeError, match="what was saved is laid:Keeper, no laid:Note"):
        restore(laid("laid", monkeypatch).Note(), state)
