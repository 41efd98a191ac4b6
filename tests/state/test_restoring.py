"""What a learner may hold comes back into a fresh one, in place; what does not fit is refused and named."""

from __future__ import annotations

import io
import json
import os
import random
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from enum import Enum, IntFlag
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from held_values import holder, same_again, saved
from torch import nn

from nlbench.state import STRUCTURE, UnlikeError, collect, first_difference, obstacles, restore


class Colour(Enum):
    RED = 1
    BLUE = 2


class Pair(NamedTuple):
    x: torch.Tensor
    y: int


@dataclass
class Buffer:
    capacity: int
    samples: list = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Slotted:
    a: torch.Tensor
    b: int


class Table(dict):
    def __init__(self):
        self.hits = 0


class Node:
    def __init__(self):
        self.next = None


def closure(start):
    count = start

    def step():
        nonlocal count
        count += 1
        return count

    return step


FRESH_AND_LATER = {
    "numbers": (
        lambda: {"a": 1, "b": 2.5, "c": True, "d": None, "e": "x", "f": 2 + 3j},
        lambda: {"a": 10**40, "b": float("nan"), "c": False, "d": 3, "e": "é", "f": 1j},
    ),
    "odd floats": (lambda: {"a": 0.0}, lambda: {"a": -0.0, "b": float("inf")}),
    "numpy numbers": (lambda: {"a": np.float32(1), "b": np.int64(2)}, lambda: {"a": np.float32(0.1), "b": np.int64(7)}),
    "leaves": (
        dict,
        lambda: {
            "a": Fraction(1, 3),
            "b": Path("x/y"),
            "c": torch.float16,
            "d": torch.Size([2]),
            "e": range(3),
            "f": b"\x00\xff",
            "g": Colour.BLUE,
        },
    ),
    "list of pairs": (lambda: {"samples": []}, lambda: {"samples": [(torch.randn(3), 1), (torch.randn(3), 0)]}),
    "dict of tensors": (lambda: {"means": {}}, lambda: {"means": {3: torch.randn(2), (1, "a"): torch.randn(2)}}),
    "plain object": (lambda: {"buffer": Buffer(5)}, lambda: {"buffer": Buffer(5, [Pair(torch.randn(2), 1)])}),
    "slots": (lambda: {"s": Slotted(torch.zeros(2), 1)}, lambda: {"s": Slotted(torch.ones(2), 2)}),
    "object in a list that grows": (lambda: {"buffers": []}, lambda: {"buffers": [Buffer(1, [torch.ones(1)]), Buffer(2)]}),
    "deque": (lambda: {"d": deque(maxlen=2)}, lambda: {"d": deque([1, 2], maxlen=2)}),
    "sets": (lambda: {"s": set(), "f": frozenset()}, lambda: {"s": {"b", "a", 1}, "f": frozenset({2})}),
    "dicts with a class": (
        lambda: {"o": OrderedDict(), "c": Counter(), "d": defaultdict(list)},
        lambda: {"o": OrderedDict(b=1, a=2), "c": Counter("aab"), "d": defaultdict(list, x=[torch.ones(1)])},
    ),
    "arrays": (
        lambda: {"a": np.zeros(3)},
        lambda: {"a": np.arange(3.0), "b": np.array([["x", "yz"]]), "c": np.float32(2) * np.ones((2, 0))},
    ),
    "strided": (lambda: {"t": torch.zeros(2, 3)}, lambda: {"t": torch.randn(3, 2).T}),
    "shrunk": (lambda: {"t": [torch.zeros(2), torch.zeros(2)], "gone": 1}, lambda: {"t": [torch.ones(2)]}),
    "gradient": (lambda: {"w": nn.Parameter(torch.zeros(2))}, lambda: {"w": with_gradient(nn.Parameter(torch.ones(2)))}),
    "half and bool": (dict, lambda: {"h": torch.ones(2, dtype=torch.bfloat16), "b": torch.tensor([True]), "i": torch.tensor(3)}),
    "bytearray": (lambda: {"b": bytearray(b"a")}, lambda: {"b": bytearray(b"bc")}),
}


def with_gradient(parameter):
    parameter.grad = torch.full_like(parameter, 2.0)
    return parameter


@pytest.mark.parametrize("case", FRESH_AND_LATER)
def test_what_was_held_comes_back(case):
    fresh, later = (holder(**make()) for make in FRESH_AND_LATER[case])
    assert not obstacles(later)
    state = saved(later)
    restore(fresh, state)
    assert first_difference(state, collect(fresh)) is None
    assert vars(fresh).keys() == vars(later).keys()
    for name, value in vars(later).items():
        assert type(vars(fresh)[name]) is type(value), name


def test_values_are_those_that_were_saved():
    later = holder(n=10**40, z=-0.0, t=torch.arange(3), d={(1, "a"): Fraction(1, 3)}, q=deque([1, 2], maxlen=2), c=Counter("aab"))
    fresh = holder(q=deque(maxlen=2), c=Counter())
    restore(fresh, saved(later))
    assert (fresh.n, fresh.d, list(fresh.q), fresh.q.maxlen) == (10**40, {(1, "a"): Fraction(1, 3)}, [1, 2], 2)
    assert str(fresh.z) == "-0.0"
    assert fresh.c == Counter("aab")
    assert torch.equal(fresh.t, torch.arange(3))


GENERATORS = {
    "random": (lambda: random.Random(1), lambda g: g.random()),
    "numpy": (lambda: np.random.default_rng(1), lambda g: g.random()),
    "legacy": (lambda: np.random.RandomState(1), lambda g: g.normal()),
    "philox": (lambda: np.random.Generator(np.random.Philox(3)), lambda g: g.normal()),
    "bits": (lambda: np.random.MT19937(1), lambda g: g.random_raw()),
    "spawning": (lambda: np.random.default_rng(1), lambda g: g.spawn(1)[0].random()),
    "torch": (lambda: torch.Generator().manual_seed(1), lambda g: torch.rand(1, generator=g).item()),
}


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("counterpart", [True, False])
def test_generators_go_on_where_they_were(kind, counterpart):
    make, draw = GENERATORS[kind]
    later, fresh = holder(g=make()), holder(g=make()) if counterpart else holder()
    first = draw(later.g)
    restore(fresh, saved(later))
    again = [draw(later.g) for _ in range(3)]
    assert [draw(fresh.g) for _ in range(3)] == again
    assert first not in again


def test_an_optimizer_and_a_schedule_go_on(tmp_path):
    def learner():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
        optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
        return holder(
            module=module, optimizer=optimizer, schedule=schedule, loss=nn.CrossEntropyLoss(), functional=F.cross_entropy
        )

    def train(own, steps, seed):
        torch.manual_seed(seed)
        for _ in range(steps):
            own.optimizer.zero_grad()
            own.loss(own.module(torch.randn(8, 3)), torch.randint(2, (8,))).backward()
            own.optimizer.step()
            own.schedule.step()

    later, fresh = learner(), learner()
    train(later, 5, 1)
    assert not obstacles(later)
    weight = fresh.module[0].weight
    restore(fresh, saved(later))
    assert fresh.module[0].weight is weight is fresh.optimizer.param_groups[0]["params"][0]
    for own in (later, fresh):
        train(own, 5, 2)
    assert first_difference(collect(later), collect(fresh)) is None
    assert later.optimizer.param_groups[0]["lr"] == fresh.optimizer.param_groups[0]["lr"] < 0.1


def test_modules_that_grow():
    later, fresh = (holder(heads=nn.ModuleList([nn.Linear(2, 2)])) for _ in range(2))
    later.heads.append(nn.Linear(2, 3))
    later.optimizer = torch.optim.SGD(later.heads.parameters(), lr=0.1, momentum=0.9)
    restore(fresh, saved(later))
    x = torch.randn(4, 2)
    assert torch.equal(fresh.heads[1](x), later.heads[1](x))
    assert fresh.optimizer.param_groups[0]["params"][3] is fresh.heads[1].bias


def test_what_is_shared_stays_shared_and_what_is_not_does_not():
    weights = torch.ones(2)
    fresh = holder(a=weights, b=weights, c=[weights])
    later = holder(a=torch.full((2,), 3.0), b=torch.full((2,), 4.0))
    later.c = [later.b]
    restore(fresh, saved(later))
    assert fresh.a.tolist() == [3.0, 3.0]
    assert fresh.b.tolist() == [4.0, 4.0]
    assert fresh.c[0] is fresh.b
    fresh = holder(a=torch.zeros(2), b=torch.zeros(2), c=[torch.zeros(2)])
    restore(fresh, saved(later))
    assert fresh.c[0] is fresh.b is not fresh.a


def test_cycles():
    later = holder(first=Node())
    later.first.next, later.me = later.first, later
    fresh = holder(first=Node())
    restore(fresh, saved(later))
    assert fresh.first.next is fresh.first
    assert fresh.me is fresh


def test_closures_partials_and_bound_methods():
    later, fresh = (holder(step=closure(0), buffer=Buffer(1)) for _ in range(2))
    for own in (later, fresh):
        own.add, own.part = own.step.__call__, partial(own.step)
    del later.add, fresh.add
    later.step(), later.step()
    restore(fresh, saved(later))
    assert fresh.step() == 3
    assert fresh.part() == 4


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (open, None),
        (lambda: (i for i in range(3)), "generator"),
        (lambda: iter([1]), "iterator"),
        (lambda: io.StringIO("x"), "StringIO"),
        (lambda: __import__("threading").Lock(), "lock"),
        (lambda: torch.ones(2).to_mkldnn(), "tensor of a kind of its own"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "tensor of a kind of its own"),
        (lambda: np.array([object(), 1])[1:], "array of object"),
        (lambda: random.SystemRandom(), "SystemRandom"),
        (lambda: os.environ, "os.environ"),
        (lambda: sys.path, "sys.path"),
        (lambda: vars(sys.modules["builtins"]), "the names of module builtins"),
        (lambda: globals(), "the names of module"),
        (lambda: vars(np), "the names of module numpy"),
        (lambda: __import__("sqlite3").connect(":memory:"), "Connection"),
    ],
)
def test_what_cannot_be_walked_is_named(value, named):
    held = holder(inner=[{"x": value if named is None else value()}])
    found = obstacles(held)
    assert bool(found) == (named is not None)
    if named:
        assert found[0].startswith("inner[0]['x']: ")
        assert named in found[0]
        with pytest.raises(UnlikeError, match=r"inner\[0\]"):
            restore(holder(inner=[{"x": None}]), saved(held))


def test_attributes_made_anew_are_left_alone():
    class Logged:
        made_anew = ("file",)

        def __init__(self):
            self.file, self.count = io.StringIO("x"), 0

    later, fresh = Logged(), Logged()
    later.count = 3
    assert not obstacles(later)
    file = fresh.file
    restore(fresh, saved(later))
    assert (fresh.count, fresh.file) == (3, file)


def test_a_function_that_was_exchanged_is_found_again_or_refused():
    later, fresh = holder(loss=closure), holder(loss=F.relu)
    restore(fresh, saved(later))
    assert fresh.loss is closure
    with pytest.raises(UnlikeError, match="function"):
        restore(holder(loss=None), saved(holder(loss=lambda x: x)))


def test_installed_classes_are_not_made_from_a_file():
    """A file that names a class of the standard library gets none of its instances."""
    import json
    import tempfile

    state = saved(holder(a=Buffer(1)))
    text = bytes(state[STRUCTURE].numpy()).decode()
    name = f"{Buffer.__module__}:Buffer"
    assert name in text
    forged = text.replace(json.dumps(name), json.dumps(f"{tempfile.__name__}:_TemporaryFileCloser"))
    state[STRUCTURE] = torch.frombuffer(bytearray(forged.encode()), dtype=torch.uint8)
    with pytest.raises(UnlikeError, match="_TemporaryFileCloser"):
        restore(holder(), state)


def test_an_object_of_the_package_without_what_it_always_has_is_refused():
    """As a file says that was changed and sealed anew; of a user's class an attribute may be gone."""
    from nlbench.kernels.graphs import Captured

    state = saved(holder(step=Captured(closure)))
    text = bytes(state[STRUCTURE].numpy()).decode()
    state[STRUCTURE] = torch.frombuffer(bytearray(text.replace('"_function":', '"_func#ion":').encode()), dtype=torch.uint8)
    with pytest.raises(UnlikeError, match="step: lacks _function, which a Captured has"):
        restore(holder(step=Captured(closure)), state)


DAMAGED = (
    b"",
    b"[",
    b"[1]",
    b'["object"]',
    b'["same", 5]',
    b'["tensor","nowhere",false,0,"cpu",null,null,{},0]',
    b'["object","dict",null,[[1],[2]],{}]',
    b"[" * 5000,
)


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_structure_is_refused(damage):
    state = {STRUCTURE: torch.frombuffer(bytearray(damage), dtype=torch.uint8) if damage else torch.zeros(0, dtype=torch.uint8)}
    with pytest.raises(UnlikeError):
        restore(holder(), state)


def test_a_chain_too_long_to_follow_is_named():
    later = holder(first=Node())
    last = later.first
    for _ in range(1000):
        last.next = Node()
        last = last.next
    assert "nested too deeply" in obstacles(later)[0]


def test_attributes_of_tensors_come_back():
    later, fresh = (holder(w=nn.Parameter(torch.zeros(2))) for _ in range(2))
    later.w.anchor, later.w.count = torch.ones(2), 3
    fresh.w.stale = 1
    restore(fresh, saved(later))
    assert (fresh.w.anchor.tolist(), fresh.w.count, hasattr(fresh.w, "stale")) == ([1.0, 1.0], 3, False)


def test_a_queue_keeps_its_length_and_an_ordered_dict_its_order():
    later, fresh = holder(q=deque([1, 2], 2), made=deque([3], 1)), holder(q=deque(maxlen=7))
    later.o = OrderedDict(a=1, b=2, c=3)
    later.o.move_to_end("a")
    restore(fresh, saved(later))
    assert (fresh.q.maxlen, fresh.made.maxlen, list(fresh.o)) == (2, 1, ["b", "c", "a"])


def test_weights_that_are_parametrized_come_back_in_the_same_process():
    def made():
        torch.manual_seed(0)
        return holder(m=nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))

    later = made()
    torch.optim.SGD(later.m.parameters(), 0.1).zero_grad()
    with torch.no_grad():
        for weight in later.m.parameters():
            weight += 1
    restore(fresh := made(), saved(later))
    x = torch.ones(1, 3)
    assert torch.equal(fresh.m(x), later.m(x))


class Parts(IntFlag):
    A = 1
    B = 2
    C = 4


def test_flags_that_are_numbers_come_back_as_keys_and_values():
    for found in same_again(
        lambda: {Parts.A: [Parts.A | Parts.C, ~Parts.B], Parts.A | Parts.B: Parts(0), "of others": re.I | re.M}
    ):
        assert found == {Parts.A: [Parts.A | Parts.C, ~Parts.B], Parts.A | Parts.B: Parts(0), "of others": re.I | re.M}
        assert [type(each) for each in found] == [Parts, Parts, str]


def test_namespaces_and_slices():
    for found in same_again(lambda: SimpleNamespace(rate=0.1, weights=[torch.ones(2)], part=slice(1, None, 2))):
        assert (found.rate, found.weights[0].tolist(), found.part) == (0.1, [1.0, 1.0], slice(1, None, 2))


def test_keys_that_are_objects_are_those_of_the_fresh_one():
    def made():
        module = nn.Linear(2, 2)
        module.register_forward_hook(print)  # no file makes a hook
        return {module: torch.ones(1), frozenset({("a", 1)}): 2}

    later, fresh = holder(held=made()), holder(held=made())
    (module, _) = fresh.held
    restore(fresh, saved(later))
    assert next(iter(fresh.held)) is module
    assert torch.equal(module.weight, next(iter(later.held)).weight)


def test_sets_are_compared_whatever_their_own_order_is():
    items = [(name, number) for name in "abcdefgh" for number in range(9)] + [Parts.A, Colour.BLUE, None, b"x", nn.Linear]
    items += [0, 2**20, 2**21]  # their hashes share all bits that a table of this size looks at: the first to come lies first
    for kind in (set, frozenset):
        one, other = holder(held=kind(items)), holder(held=kind(reversed(items)))
        assert list(one.held) != list(other.held)
        assert first_difference(saved(one), collect(other)) is None
    assert first_difference(saved(holder(held=set(items))), collect(holder(held=set(items[1:])))) is not None


@pytest.mark.parametrize("kind", [set, frozenset])
@pytest.mark.parametrize(("start", "step", "comes_back"), [(0, 1, True), (7, 8, False)])
def test_a_set_that_a_checkpoint_would_give_back_in_another_order_is_named(kind, start, step, comes_back):
    """Else it would be saved, and refused or in another order when the run goes on."""
    held = holder(inner=[kind(range(start, start + 12 * step, step))])
    found = obstacles(held)
    assert found == (
        []
        if comes_back
        else ["inner[0]: a set whose order comes of how it was filled: dict.fromkeys(...) keeps one that comes back"]
    )
    if comes_back:
        fresh = holder(inner=[kind()])
        restore(fresh, saved(held))
        assert list(fresh.inner[0]) == list(held.inner[0])


def test_what_is_in_a_set_that_is_named_is_compared_all_the_same():
    held = holder(inner=set(range(7, 103, 8)))
    before = saved(held)
    held.inner.add(5)
    assert first_difference(before, collect(held)) is not None


def test_the_id_of_an_object_is_named_and_other_large_numbers_are_not():
    part = Buffer(1)
    held = holder(part=part, seen={id(part): 1}, number=2**45 + 1)
    assert obstacles(held) == ["seen<key 0>: the id of an object, which is another in another process"]
    held.seen = {2**45: 1}
    fresh = holder(part=Buffer(1), seen={}, number=0)
    restore(fresh, saved(held))
    assert (fresh.seen, fresh.number) == ({2**45: 1}, 2**45 + 1)


class Watched:
    made = 0

    def __init__(self, *_):
        Watched.made += 1

    @property
    def looked(self):
        Watched.made += 1


@pytest.mark.parametrize(
    "node",
    [
        ["member", f"{Watched.__module__}:Watched", 1],
        ["member", f"{Colour.__module__}:Colour", 7],
        ["bound", "looked", ["same", 1]],
        ["bound", "__class__", ["same", 1]],
        ["dtype", "load"],
        ["array", "a", "<f8", [1], [0], True, [0, 0, [8], 10**18]],
        ["array", "a", "<f8", [1], [0], True, [0, 64, [8], 8]],
        ["array", "a", "|O", [1], [0], True, None],
        ["tensor", "a", False, 0, "cpu", None, [0, [10**15], [10**6]], {}, 0],
        ["tensor", "a", False, 0, "cpu", None, [0, [1], [-1]], {}, 0],
        ["tensor", "a", False, 0, "cpu", None, [0, [10**30], [2]], {}, 0],
    ],
    ids=str,
)
def test_what_a_file_forges_is_refused_and_runs_nothing(node):
    state = saved(holder(a=torch.zeros(1, dtype=torch.float64), watched=Watched(), odd=0))
    root = json.loads(bytes(state[STRUCTURE].numpy()))
    root[4] = {"watched": root[4]["watched"], "odd": node}
    state[STRUCTURE] = torch.frombuffer(bytearray(json.dumps(root).encode()), dtype=torch.uint8)
    fresh, before = holder(watched=Watched()), Watched.made
    with pytest.raises(UnlikeError):
        restore(fresh, state)
    assert Watched.made == before
