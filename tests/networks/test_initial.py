from __future__ import annotations

import pytest
import torch

from nlbench.networks import initial


def test_a_layer_is_within_its_bound_and_a_function_of_seed_and_name() -> None:
    values = initial.linear((0, 1), "a", 25, 7)
    assert {name: tuple(value.shape) for name, value in values.items()} == {"a.weight": (2, 7, 25), "a.bias": (2, 7)}
    for value in values.values():
        assert value.abs().max() < 0.2
    assert values["a.weight"].abs().max() > 0.19
    assert torch.equal(initial.linear((1,), "a", 25, 7)["a.weight"][0], values["a.weight"][1])
    assert not torch.equal(initial.linear((1,), "b", 25, 7)["b.weight"], values["a.weight"][1:])


def test_spread_weights_are_normal_and_cut_at_two_deviations_and_biases_as_much() -> None:
    values = initial.linear((0, 1), "a", 250, 70, spread=0.1)
    weight, bias = values["a.weight"], values["a.bias"]
    assert weight.dtype == bias.dtype == torch.float32
    assert (tuple(weight.shape), bias.tolist()) == ((2, 70, 250), torch.full((2, 70), 0.1).tolist())
    assert 0.19 < weight.abs().max() <= 0.2
    assert weight.std(dim=(1, 2)) == pytest.approx([0.08796] * 2, rel=0.02)  # of what is left of N(0, 0.1²)
    assert torch.equal(initial.linear((1,), "a", 250, 70, spread=0.1)["a.weight"][0], weight[1])


def test_normal_draws_have_their_deviation() -> None:
    weight = initial.normal((0, 1), "a", (50, 40), 0.5)
    assert weight.std(dim=(1, 2)) == pytest.approx([0.5, 0.5], rel=0.05)
    assert torch.equal(initial.normal((1,), "a", (50, 40), 0.5)[0], weight[1])


def test_what_torch_draws_is_decided_by_seed_and_purpose_and_nothing_leaks() -> None:
    before, found = torch.get_rng_state(), []
    for seed, purpose in ((1, "a"), (1, "a"), (2, "a"), (1, "b")):
        with initial.seeded(seed, purpose):
            found.append(torch.rand(()).item())
    assert found[0] == found[1]
    assert len(set(found)) == 3
    assert torch.equal(before, torch.get_rng_state())
