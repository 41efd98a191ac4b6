"""Layers start as torch's do: uniform within 1 / sqrt(fan in), each seed by its own draw."""

from __future__ import annotations

import torch
from small_streams import CPU

from nlbench import Problem
from nlbench.learners.initial import linear


def problem(*seeds):
    return Problem((3,), 2, seeds, "class-il", CPU, "auto", 1)


def test_values_lie_within_the_bound_and_fill_it():
    weight, bias = linear(problem(0, 1), "layer0", 50, 400, gain=2.0)
    bound = 2.0 * 50**-0.5
    assert weight.shape == (2, 400, 50)
    assert bias.shape == (2, 400)
    for values in (weight, bias):
        assert 0.98 * bound < float(values.abs().max()) <= bound


def test_a_seed_and_a_name_decide_the_draw():
    both, alone, other = (linear(problem(*seeds), name, 4, 3)[0] for seeds, name in (((4, 5), "a"), ((5,), "a"), ((5,), "b")))
    assert torch.equal(both[1], alone[0])
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(alone, other)
