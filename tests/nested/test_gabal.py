"""GABAL: gate, both bounds, learned rates, periods and state, in float64, against autograd and explicit formulas."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nlbench.errors import NlbenchError
from nlbench.nested.gabal import (
    Gabal,
    GabalConfig,
    GabalState,
    features,
    gabal_accumulate,
    gabal_apply,
    gabal_init,
    gate,
    hypergradient,
    largest_rate,
    rate,
    trust_clip,
)

OPEN = GabalConfig(threshold=-100.0, trust=100.0)  # the gate stands open and the trust ratio never binds


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> bool:
    return actual.shape == expected.shape and float((actual - expected).detach().abs().max()) <= tolerance


def level(*lead: int) -> list[Tensor]:
    return [draw(*lead, 4, 3, seed=1), draw(*lead, 4, seed=2)]


def accumulate(
    config: GabalConfig, state: GabalState, parameters: list[Tensor], gradients: list[Tensor], **given: Any
) -> GabalState:
    lead = state.gate_sum.shape
    filled = {
        "surprise": torch.ones(lead, dtype=torch.float64),
        "input_square": torch.full(lead, 3.0, dtype=torch.float64),
        "period": 1,
    }
    return gabal_accumulate(config, state, gradients, parameters, **{**filled, **given})


@pytest.mark.parametrize("base", [1e-4, 0.02])
def test_rate_starts_at_the_base_rate_and_the_first_step_is_plain_gradient_descent(base: float) -> None:
    parameters, gradients = level(), [draw(4, 3, seed=3), draw(4, seed=4)]
    state = accumulate(replace(OPEN, base_rate=base), gabal_init(parameters), parameters, gradients)
    new, _ = gabal_apply(OPEN, state, parameters)
    for after, before, g in zip(new, parameters, gradients, strict=True):
        assert close(after, before - base * g)


def test_rate_stays_within_its_bounds_for_any_weights_and_features() -> None:
    phi, weights, bias = 100 * draw(200, 4, seed=1), draw(200, 4, seed=2), 10 * draw(200, seed=3)
    high = largest_rate(10 * draw(200, seed=4).square(), 0.5)
    eta = rate(weights, bias, phi, 1e-5, high)
    assert bool((eta >= high.clamp_max(1e-5)).all())
    assert bool((eta <= high).all())
    assert float(rate(weights[0], bias[0], phi[0], 1e-5, number(1e-7))) <= 1e-7
    assert float(largest_rate(number(4.0), 1.0)) == 0.2


def overshoots(eta_of: Any) -> bool:
    """Whether one step on one sample of a linear layer flips the sign of its own error, |x|² from 0.01 to 10⁴."""
    flipped = False
    for length in (0.1, 1.0, 100.0):
        x, weights, value = length * draw(3, seed=1) / draw(3, seed=1).norm(), draw(4, 3, seed=2), draw(4, seed=3)
        error = weights @ x - value
        after = (weights - eta_of(number(length**2)) * torch.outer(error, x)) @ x - value
        flipped |= bool((after * error < 0).any())
    return flipped


def test_normalised_bound_never_overshoots_and_a_fixed_rate_does() -> None:
    assert not overshoots(
        lambda square: rate(torch.zeros(4).double(), number(1e9), torch.zeros(4).double(), 0.0, largest_rate(square, 1.0))
    )
    assert overshoots(lambda square: number(0.1))


def test_trust_ratio_bounds_the_whole_levels_move_per_replica() -> None:
    parameters = level(3)
    update = [p * torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64).reshape(3, *[1] * (p.ndim - 1)) for p in parameters]
    clipped = trust_clip(update, parameters, 0.1, 1)
    ratio = [
        math.sqrt(sum(float(u[s].square().sum()) for u in clipped) / sum(float(p[s].square().sum()) for p in parameters))
        for s in range(3)
    ]
    assert ratio == pytest.approx([0.01, 0.1, 0.1])
    assert close(clipped[0][0], update[0][0], 0.0)
    zero = trust_clip(update, [torch.zeros_like(p) for p in parameters], 0.1, 1)
    assert close(zero[0], update[0], 0.0)


def test_gate_closes_on_the_expected_and_opens_on_surprise() -> None:
    values = gate(torch.tensor([-5.0, 1.0, 7.0], dtype=torch.float64), threshold=1.0, temperature=0.5)
    assert float(values[0]) < 1e-4
    assert float(values[1]) == 0.5
    assert float(values[2]) > 1 - 1e-4


def test_gated_updates_follow_the_standardised_surprise() -> None:
    """After a steady stream, an expected step writes less than a surprising one by the ratio of their gates."""
    config = GabalConfig(threshold=1.0, temperature=0.5, trust=100.0, meta_rate=0.0)
    parameters, gradients = level(), [draw(4, 3, seed=3), draw(4, seed=4)]
    state = gabal_init(parameters)
    for t in range(50):
        state = accumulate(config, state, parameters, gradients, surprise=1 + 0.1 * draw(1, seed=t)[0])
        _, state = gabal_apply(config, state, parameters)
    mean, deviation = state.surprise.mean, state.surprise.variance.sqrt()
    written = [
        gabal_apply(config, accumulate(config, state, parameters, gradients, surprise=mean + z * deviation), parameters)[
            1
        ].applied[0]
        for z in (0.0, 3.0)
    ]
    expected = gate(number(0.0), 1.0, 0.5) / gate(number(3.0), 1.0, 0.5)
    assert float(written[0].norm() / written[1].norm()) == pytest.approx(float(expected), rel=1e-6)


def test_features_are_surprise_agreement_relative_size_and_age() -> None:
    gradients, pending, parameters = level(), [draw(4, 3, seed=5), draw(4, seed=6)], [draw(4, 3, seed=7), draw(4, seed=8)]
    flat = [torch.cat([t.flatten() for t in tensors]) for tensors in (gradients, pending, parameters)]
    phi = features(number(1.5), gradients, pending, parameters, 0.25)
    cosine = torch.nn.functional.cosine_similarity(flat[0], flat[1], 0)
    expected = torch.stack((number(1.5), cosine, (flat[0].norm() / flat[2].norm()).log(), number(0.25)))
    assert close(phi, expected, 1e-7)
    zeros = [torch.zeros_like(t) for t in gradients]
    assert bool(features(number(0.0), zeros, zeros, zeros, 1.0).isfinite().all())


def loss_after(parameters: list[Tensor]) -> Tensor:
    return sum(((p - 1) ** 4).sum() for p in parameters) / 8


def gradients_at(parameters: list[Tensor]) -> list[Tensor]:
    leaves = [p.clone().requires_grad_() for p in parameters]
    return list(torch.autograd.grad(loss_after(leaves), leaves))


def test_hypergradient_equals_autograd_through_the_update() -> None:
    """∂L(θ - η(w, b) u g)/∂(w, b) with φ, u and g held fixed, at period 1: exact, since g_{t+1} is taken after the update."""
    parameters, config, high = level(), replace(OPEN, meta_rate=0.0), largest_rate(number(3.0), 1.0)
    state = gabal_init(parameters)._replace(weights=draw(4, seed=5) / 3, bias=number(-1.0))
    gradients = gradients_at(parameters)
    after, applied = gabal_apply(config, accumulate(config, state, parameters, gradients), parameters)
    weights, bias = state.weights.clone().requires_grad_(), state.bias.clone().requires_grad_()
    phi = features(number(0.0), gradients, state.pending, parameters, 1.0)
    eta = rate(weights, bias, phi, config.min_rate, high) * gate(number(0.0), config.threshold, config.temperature)
    expected = torch.autograd.grad(loss_after([p - eta * g for p, g in zip(parameters, gradients, strict=True)]), (weights, bias))
    assert close(hypergradient(applied, gradients_at(list(after)), 0), torch.cat((expected[0], expected[1][None])), 1e-10)


def learned_rate(flipped: bool) -> float:
    """Train on a quartic bowl from the far too small rate 1e-4 and return the last rate; `flipped` climbs the hypergradient."""
    config = replace(OPEN, base_rate=1e-4, meta_rate=0.0 if flipped else 0.5)
    parameters, used = level(), 0.0
    state = gabal_init(parameters)
    for _ in range(100):
        gradients = gradients_at(parameters)
        if flipped and state.has_applied:
            state = state._replace(bias=state.bias + 0.5 * hypergradient(state, gradients, 0)[4].clamp(-1, 1))
        state = accumulate(config, state, parameters, gradients)
        used = float(state.rate_sum)
        new, state = gabal_apply(config, state, parameters)
        parameters = list(new)
    return used


def test_too_small_a_rate_is_learned_upwards_and_the_flipped_hypergradient_lowers_it() -> None:
    assert learned_rate(flipped=False) > 10 * 1e-4
    assert learned_rate(flipped=True) < 1e-4


def test_hypergradients_are_clipped() -> None:
    config = replace(OPEN, meta_rate=0.1, meta_clip=0.01)
    parameters, huge = level(), [1e6 * torch.ones_like(p) for p in level()]
    _, state = gabal_apply(config, accumulate(config, gabal_init(parameters), parameters, huge), parameters)
    moved = accumulate(config, state, parameters, huge)
    assert float((moved.bias - state.bias).abs()) <= 0.1 * 0.01 * (1 + 1e-9)
    assert float((moved.weights - state.weights).abs().max()) <= 0.1 * 0.01 * (1 + 1e-9)


@pytest.mark.parametrize("to_initial", [False, True])
def test_retention_follows_the_gate_and_pulls_to_its_target(to_initial: bool) -> None:
    config = GabalConfig(threshold=0.0, temperature=1.0, min_retain=0.8, trust=1.0)
    parameters, zeros = level(), [torch.zeros_like(p) for p in level()]
    initial = [draw(4, 3, seed=11), draw(4, seed=12)] if to_initial else None
    state = accumulate(config, gabal_init(parameters), parameters, zeros)
    new, _ = gabal_apply(config, state, parameters, initial)
    retain = 1 - 0.5 * 0.2  # the first surprise is neither high nor low: z = 0, gate ½
    for after, before, start in zip(new, parameters, initial or zeros, strict=True):
        assert close(after, start + retain * (before - start))


class Counted:
    """A Gabal on a bowl, stepped by hand."""

    def __init__(self, period: int) -> None:
        self.parameters = [p.requires_grad_() for p in level()]
        self.controller = Gabal(self.parameters, period, GabalConfig(meta_rate=0.1))

    def step(self, t: int) -> None:
        loss = loss_after(self.parameters)
        for p, g in zip(self.parameters, torch.autograd.grad(loss, self.parameters), strict=True):
            p.grad = g
        self.controller.step(1 + 0.1 * draw(1, seed=t)[0], number(2.0))


def test_parameters_change_at_multiples_of_the_period_only_and_descend() -> None:
    run, first = Counted(4), None
    for t in range(1, 41):
        before = run.parameters[0].detach().clone()
        first = float(loss_after(run.parameters).detach()) if first is None else first
        run.step(t)
        assert torch.equal(run.parameters[0], before) is (t % 4 != 0)
    assert float(loss_after(run.parameters).detach()) < first


def test_state_saves_and_resumes_bit_exactly_in_the_middle_of_a_period() -> None:
    whole, first, second = Counted(4), Counted(4), Counted(4)
    for t in range(17):
        whole.step(t)
        if t < 10:
            first.step(t)
    file = io.BytesIO()
    torch.save({"parameters": [p.detach() for p in first.parameters], "gabal": first.controller.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    for p, value in zip(second.parameters, saved["parameters"], strict=True):
        p.data.copy_(value)
    second.controller.load_state_dict(saved["gabal"])
    for t in range(10, 17):
        second.step(t)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters, second.parameters, strict=True))


def test_replicas_are_controlled_as_if_alone() -> None:
    config = GabalConfig(meta_rate=0.1)
    many, one = level(3), [p[1] for p in level(3)]
    many_state, one_state = gabal_init(many, 1), gabal_init(one)
    for t in range(12):
        surprise, square = draw(3, seed=t).abs(), draw(3, seed=100 + t).square()
        gradients = [p - 1 for p in many]
        many_state = gabal_accumulate(config, many_state, gradients, many, surprise, square, 3)
        one_state = gabal_accumulate(config, one_state, [p - 1 for p in one], one, surprise[1], square[1], 3)
        if t % 3 == 2:
            many, many_state = gabal_apply(config, many_state, many)
            one, one_state = gabal_apply(config, one_state, one)
    assert all(close(a[1], b) for a, b in zip(many, one, strict=True))
    assert close(many_state.weights[1], one_state.weights)


def test_frozen_rates_do_not_learn() -> None:
    config = replace(OPEN, meta_rate=0.0)
    parameters = level()
    state = gabal_init(parameters)
    for _ in range(5):
        state = accumulate(config, state, parameters, gradients_at(parameters))
        new, state = gabal_apply(config, state, parameters)
        parameters = list(new)
    assert not state.weights.any()


@pytest.mark.parametrize(
    "fields",
    [
        {"base_rate": 0.0},
        {"nlms": 1.5},
        {"trust": 0.0},
        {"temperature": 0.0},
        {"min_retain": 1.1},
        {"meta_rate": -1.0},
    ],
)
def test_values_out_of_range_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(NlbenchError, match=next(iter(fields))):
        GabalConfig(**fields)


def test_a_period_without_steps_is_refused() -> None:
    with pytest.raises(NlbenchError, match="period must be at least 1"):
        Gabal(level(), 0)


def test_an_update_of_nothing_is_refused() -> None:
    with pytest.raises(NlbenchError, match="nothing has accumulated"):
        gabal_apply(OPEN, gabal_init(level()), level())
