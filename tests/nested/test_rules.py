"""Rules and retentions against closed forms and minimality, in float64; the same checks reject the faulty rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.nested import rules
from nlbench.nested.retention import AccumulatedMetric, Decayed, Euclidean, decay_towards, ridge_metric

S, N, D_IN, D_OUT = 3, 5, 12, 7
ETA = 0.7


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> bool:
    return actual.shape == expected.shape and float((actual - expected).detach().abs().max()) <= tolerance


@pytest.fixture
def problem() -> tuple[Tensor, Tensor, Tensor]:
    return draw(S, D_OUT, D_IN, seed=1), draw(S, N, D_IN, seed=2), draw(S, N, D_OUT, seed=3)


def is_proximal_step(new: Tensor, old: Tensor, inputs: Tensor, surprises: Tensor, rate: float, kappa: float = 1.0) -> bool:
    """Whether the gradient of Σ (κ/2)‖Wx + δ/κ‖² + (1/2η)‖W - W_t‖² vanishes at `new`: necessary and sufficient, it is convex."""
    gradient = (kappa * inputs @ new.mT + surprises).mT @ inputs + (new - old) / rate
    return float(gradient.abs().max()) < 1e-10


def printed_dgd(weights: Tensor, inputs: Tensor, surprises: Tensor, rate: float) -> Tensor:
    """Eq. 57 as printed, η/(1+η): right only for ‖x‖ = 1."""
    printed = rate / (1 + rate)
    return weights - printed * (inputs @ weights.mT + surprises).mT @ inputs


def gradient_difference(weights: Tensor, inputs: Tensor, surprises: Tensor, rate: float) -> Tensor:
    """Seed system 1: the gradient minus a share of the previous gradient, called DGD."""
    gradient = surprises.mT @ inputs
    previous = 0.9 * gradient
    return weights - rate * (gradient - 0.5 * previous)


@pytest.mark.parametrize("length", [0.01, 1.0, 30.0])
def test_dgd_token_is_the_exact_prox_for_any_input_length(length: float) -> None:
    weights, x, delta = draw(S, D_OUT, D_IN, seed=1), draw(S, D_IN, seed=2), draw(S, D_OUT, seed=3)
    x = length * x / x.norm(dim=-1, keepdim=True)
    new = rules.dgd_token(weights, x, delta, torch.tensor(ETA, dtype=torch.float64)).weights
    assert is_proximal_step(new, weights, x[:, None], delta[:, None], ETA)
    assert is_proximal_step(printed_dgd(weights, x[:, None], delta[:, None], ETA), weights, x[:, None], delta[:, None], ETA) is (
        length == 1.0
    )
    assert not is_proximal_step(
        gradient_difference(weights, x[:, None], delta[:, None], ETA), weights, x[:, None], delta[:, None], ETA
    )


def test_dgd_token_is_sherman_morrison() -> None:
    weights, x, delta = draw(D_OUT, D_IN, seed=1), draw(D_IN, seed=2), draw(D_OUT, seed=3)
    identity = torch.eye(D_IN, dtype=torch.float64)
    expected = (weights - ETA * torch.outer(delta, x)) @ torch.linalg.inv(identity + ETA * torch.outer(x, x))
    assert close(rules.dgd_token(weights, x, delta, torch.tensor(ETA, dtype=torch.float64)).weights, expected)


def test_batch_dgd_is_woodbury(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    weights, inputs, surprises = problem
    new = rules.dgd(weights, inputs, surprises, ETA).weights
    identity = torch.eye(D_IN, dtype=torch.float64)
    expected = (weights - ETA * surprises.mT @ inputs) @ torch.linalg.inv(identity + ETA * inputs.mT @ inputs)
    assert close(new, expected)
    assert is_proximal_step(new, weights, inputs, surprises, ETA)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1000.0])
@pytest.mark.parametrize("tokens", [D_IN, 65])
def test_batch_dgd_is_exact_in_float32_for_more_tokens_than_inputs_of_any_length(tokens: int, scale: float) -> None:
    weights, inputs, surprises = draw(D_OUT, D_IN, seed=1), scale * draw(tokens, D_IN, seed=2), draw(tokens, D_OUT, seed=3)
    weights, inputs, surprises = (each.float().double() for each in (weights, inputs, surprises))
    expected = (weights - ETA * surprises.mT @ inputs) @ torch.linalg.inv(
        torch.eye(D_IN, dtype=torch.float64) + ETA * inputs.mT @ inputs
    )
    found = rules.dgd(weights.float(), inputs.float(), surprises.float(), ETA).weights.double()
    if tokens > D_IN:
        assert close(found, expected, 2e-6 * float(expected.abs().max()))
    assert close(rules.dgd(weights, inputs, surprises, ETA).weights, expected, 1e-9)


def test_batch_dgd_of_one_token_is_the_token_rule(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    weights, inputs, surprises = problem
    batch = rules.dgd(weights, inputs[:, :1], surprises[:, :1], ETA)
    token = rules.dgd_token(weights, inputs[:, 0], surprises[:, 0], torch.tensor(ETA, dtype=torch.float64))
    assert close(batch.kept, token.kept, 1e-12)
    assert close(batch.written, token.written, 1e-12)


def test_batch_mean_outer_product_is_not_batch_dgd(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    """Seed system 2: its delta rule multiplies batch means, mean(δ) mean(x)ᵀ, instead of averaging products."""
    weights, inputs, surprises = problem
    faulty = weights - ETA * surprises.mean(-2)[..., :, None] * inputs.mean(-2)[..., None, :]
    mean_gradient = rules.gd(weights, inputs, surprises / N, ETA).weights
    expected = weights - ETA * torch.einsum("sno,sni->soi", surprises, inputs) / N
    assert close(mean_gradient, expected)
    assert not close(faulty, expected)


@pytest.mark.parametrize("kappa", [0.25, 1.0])
def test_dgd_step_is_a_gradient_step_on_the_loss_plus_half_the_squared_output(kappa: float) -> None:
    weights, x, target = draw(D_OUT, D_IN, seed=1), draw(D_IN, seed=2), draw(D_OUT, seed=3)
    leaf = weights.clone().requires_grad_()
    y = leaf @ x
    (y - target).pow(4).sum().add(0.5 * kappa * y.square().sum()).backward()
    rate = rules.proximal_rate(torch.tensor(kappa * ETA, dtype=torch.float64), x) / kappa
    delta = 4 * (weights @ x - target).pow(3)
    assert close(rules.dgd(weights, x[None], delta[None], ETA, kappa).weights, weights - rate * leaf.grad)


def test_dgd_of_strength_zero_is_gradient_descent_and_small_strengths_approach_it(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    plain = rules.gd(*problem, ETA).weights
    assert close(rules.dgd(*problem, ETA, 0.0).weights, plain, 0.0)
    assert close(rules.dgd(*problem, ETA, 1e-9).weights, plain, 1e-5)


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
def test_dgd_settles_at_the_value_over_one_plus_strength(kappa: float) -> None:
    x, value = draw(D_IN, seed=2) / 3, draw(D_OUT, seed=3)
    weights = torch.zeros(D_OUT, D_IN, dtype=torch.float64)
    for _ in range(400):
        weights = rules.dgd(weights, x[None], (weights @ x - value)[None], 0.5, kappa).weights
    assert close(weights @ x, value / (1 + kappa))


def test_rates_per_token_weigh_tokens(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    weights, inputs, surprises = problem
    rates = torch.rand(S, N, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    rates[:, 2] = 0
    new = rules.dgd(weights, inputs, surprises, rates).weights
    gradient = (rates[..., None] * (inputs @ new.mT + surprises)).mT @ inputs + (new - weights)
    assert float(gradient.abs().max()) < 1e-10
    others = [0, 1, 3, 4]
    assert close(new, rules.dgd(weights, inputs[:, others], surprises[:, others], rates[:, others]).weights, 1e-12)


def test_omega_is_gradient_descent_with_a_weight_per_token(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    weights, keys, values = problem
    decay = 0.8 ** torch.arange(N - 1, -1, -1, dtype=torch.float64)
    leaf = weights.clone().requires_grad_()
    (decay * 0.5 * (keys @ leaf.mT - values).square().sum(-1)).sum().backward()
    assert close(rules.gd(weights, keys, keys @ weights.mT - values, decay.expand(S, N)).weights, weights - leaf.grad)


def retention_cases() -> list[tuple[str, Euclidean | Decayed | AccumulatedMetric]]:
    factor = draw(S, D_IN, D_IN, seed=7)
    inverse = factor @ factor.mT / D_IN + 0.1 * torch.eye(D_IN, dtype=torch.float64)
    return [
        ("euclidean", Euclidean(ETA)),
        ("decayed to zero", Decayed(ETA, torch.tensor([0.5, 0.9, 1.0], dtype=torch.float64))),
        ("decayed to the initial state", Decayed(ETA, 0.8, draw(S, D_OUT, D_IN, seed=8))),
        ("accumulated metric", AccumulatedMetric(inverse)),
    ]


@pytest.mark.parametrize("loss", ["dot", "l2"])
@pytest.mark.parametrize("case", range(4))
def test_general_step_minimises_loss_plus_retention(problem: tuple[Tensor, Tensor, Tensor], loss: str, case: int) -> None:
    weights, inputs, values = problem
    retention = retention_cases()[case][1]
    new = rules.ggd(weights, inputs, values, retention, loss)[0].weights.requires_grad_()
    outputs = inputs @ new.mT
    value = -(outputs * values).sum() if loss == "dot" else 0.5 * (outputs - values).square().sum()
    away = new - retention.centre(weights)
    if isinstance(retention, AccumulatedMetric):
        metric = torch.cholesky_inverse(torch.linalg.cholesky(retention.inverse_metric))
        pull = 0.5 * ((away @ metric) * away).sum()
    else:
        pull = 0.5 * away.square().sum() / ETA
    assert float(torch.autograd.grad(value + pull, new)[0].abs().max()) < 1e-10


def test_general_step_with_self_generated_values_is_gradient_descent_or_dgd(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    weights, inputs, surprises = problem
    assert close(rules.ggd(weights, inputs, -surprises, Euclidean(ETA), "dot")[0].weights, rules.gd(*problem, ETA).weights, 1e-12)
    assert close(rules.ggd(weights, inputs, -surprises, Euclidean(ETA), "l2")[0].weights, rules.dgd(*problem, ETA).weights)
    with pytest.raises(UnknownNameError, match="l2"):
        rules.ggd(weights, inputs, surprises, Euclidean(ETA), "l1")


Rule = Callable[[Tensor, Tensor, Tensor], Tensor]


def descends(rule: Rule, seed: int) -> bool:
    """Whether a small step from zero on ½‖Wx - v‖² lowers it; `rule(weights, inputs, surprises)` returns the new weights."""
    weights, inputs, values = (
        torch.zeros(D_OUT, D_IN, dtype=torch.float64),
        draw(N, D_IN, seed=seed),
        draw(N, D_OUT, seed=seed + 1),
    )

    def loss(w: Tensor) -> float:
        return float((inputs @ w.mT - values).square().sum())

    return loss(rule(weights, inputs, inputs @ weights.mT - values)) < loss(weights)


@pytest.mark.parametrize("loss", ["dot", "l2"])
@pytest.mark.parametrize("seed", [10, 20, 30])
def test_general_steps_descend_and_the_flipped_sign_does_not(loss: rules.Loss, seed: int) -> None:
    """Seed system 1 and the paper's eq. 114 target +∂L/∂y: gradient ascent."""
    assert descends(lambda w, x, d: rules.ggd(w, x, -d, Euclidean(1e-3), loss)[0].weights, seed)
    assert not descends(lambda w, x, d: rules.ggd(w, x, d, Euclidean(1e-3), loss)[0].weights, seed)


def test_momentum_memory_descends_and_the_flipped_sign_ascends() -> None:
    one = torch.ones(1, 1, dtype=torch.float64)

    def step(sign: float) -> bool:
        def rule(w: Tensor, x: Tensor, d: Tensor) -> Tensor:
            gradient = (d.mT @ x).reshape(1, -1)
            memory = torch.zeros(gradient.shape[-1], 1, dtype=torch.float64)
            return w + rules.gm(memory, one, sign * gradient, Decayed(1e-3, 0.9))[0].weights.reshape(w.shape)

        return descends(rule, 10)

    assert step(1.0)
    assert not step(-1.0)


def test_momentum_memory_with_a_constant_key_is_ema_momentum() -> None:
    """Eq. 33 is generalised momentum with the dot loss, key 1 and decayed retention."""
    memory, plain = torch.zeros(S, D_OUT, 1, dtype=torch.float64), torch.zeros(S, D_OUT, 1, dtype=torch.float64)
    for t in range(20):
        gradient = draw(S, 1, D_OUT, seed=t)
        memory = rules.gm(memory, torch.ones(S, 1, 1, dtype=torch.float64), gradient, Decayed(0.1, 0.9), "dot")[0].weights
        plain = 0.9 * plain - 0.1 * gradient.mT
    assert close(memory, plain, 1e-12)


def test_kept_part_stays_outside_the_momentum() -> None:
    """S = μS + written, M = kept + S, against the loop of the ablated momentum (Table 6)."""
    weights, speed = draw(D_OUT, D_IN, seed=1), torch.zeros(D_OUT, D_IN, dtype=torch.float64)
    expected, s = weights.clone(), speed.clone()
    for t in range(12):
        x, value = draw(D_IN, seed=10 + t), draw(D_OUT, seed=50 + t)
        weights, speed = rules.with_momentum(rules.dgd(weights, x[None], (weights @ x - value)[None], 0.3), speed, 0.6)
        rate = 0.3 / (1 + 0.3 * x @ x)
        s = 0.6 * s - rate * torch.outer(expected @ x - value, x)
        expected = expected - rate * torch.outer(expected @ x, x) + s
    assert close(weights, expected, 1e-12)


def recursive_least_squares(keys: Tensor, values: Tensor, sizes: list[int], ridge: float = 0.1) -> Tensor:
    memory = torch.zeros(*keys.shape[:-2], values.shape[-1], keys.shape[-1], dtype=torch.float64)
    retention = AccumulatedMetric(ridge_metric(memory, ridge))
    for k, v in zip(keys.split(sizes, -2), values.split(sizes, -2), strict=True):
        step, retention = rules.ggd(memory, k, v, retention)
        memory = step.weights
    return memory


def ridge_solution(keys: Tensor, values: Tensor, ridge: float = 0.1) -> Tensor:
    gram = keys.mT @ keys + ridge * torch.eye(keys.shape[-1], dtype=torch.float64)
    return torch.cholesky_solve(keys.mT @ values, torch.linalg.cholesky(gram)).mT


def test_accumulated_metric_is_ridge_regression_on_everything_seen_in_any_order_and_chunking() -> None:
    keys, values = draw(S, 80, 24, seed=4), draw(S, 80, 20, seed=5)
    expected = ridge_solution(keys, values)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(6))
    for chunks in ([32, 32, 16], [1] * 80, [80]):
        assert close(recursive_least_squares(keys, values, chunks), expected)
        assert close(recursive_least_squares(keys[:, order], values[:, order], chunks), expected)


def test_fading_metric_is_exponentially_weighted_least_squares() -> None:
    keys, values, fade = draw(40, 6, seed=4), draw(40, 3, seed=5), 0.9
    memory = torch.zeros(3, 6, dtype=torch.float64)
    metric = ridge_metric(memory, 0.1)
    for k, v in zip(keys.split(1), values.split(1), strict=True):
        step, retention = rules.ggd(memory, k, v, AccumulatedMetric(metric, fade))
        memory, metric = step.weights, retention.inverse_metric
    weight = fade ** torch.arange(39, -1, -1, dtype=torch.float64)
    gram = keys.T @ (weight[:, None] * keys) + 0.1 * fade**40 * torch.eye(6, dtype=torch.float64)
    assert close(memory, torch.cholesky_solve(keys.T @ (weight[:, None] * values), torch.linalg.cholesky(gram)).T)


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0])
def test_lp_step_is_stationary(p: float) -> None:
    weights, x, value = draw(S, D_OUT, D_IN, seed=1), draw(S, D_IN, seed=2), draw(S, D_OUT, seed=3)
    new = rules.ggd_lp(weights, x, value, Euclidean(ETA), p)[0].weights
    error = (new @ x[..., None])[..., 0] - value
    gradient = (error.sign() * error.abs().pow(p - 1))[..., None] * x[:, None] + (new - weights) / ETA
    assert float(gradient.abs().max()) < 1e-10
    if p == 2:
        assert close(new, rules.ggd(weights, x[:, None], value[:, None], Euclidean(ETA))[0].weights)


def test_l1_step_bounds_what_an_outlier_writes_and_forgets_small_errors() -> None:
    weights, x = torch.zeros(2, 4, dtype=torch.float64), 0.5 * torch.ones(4, dtype=torch.float64)
    new = rules.ggd_lp(weights, x, torch.tensor([1e6, 0.1], dtype=torch.float64), Euclidean(0.25), 1.0)[0].weights
    assert close(new @ x, torch.tensor([0.25, 0.1], dtype=torch.float64))
    with pytest.raises(NlbenchError, match="p must be >= 1"):
        rules.ggd_lp(weights, x, torch.zeros(2, dtype=torch.float64), Euclidean(0.25), 0.5)


def half_life(decay: Callable[[Tensor], Tensor]) -> int:
    """Writes until a memory of 1 reads ½, by applying `decay` one write at a time."""
    value, writes = torch.ones(1, 1, dtype=torch.float64), 0
    while float(value) > 0.5:
        value, writes = decay(value), writes + 1
    return writes


def test_retain_is_a_retention_with_the_half_life_it_says() -> None:
    """α retains: 0.99 halves in 69 writes. Seed system 1 used α as a decay rate times the learning rate; others applied 1 - α."""
    retain = 0.99
    assert half_life(lambda m: decay_towards(m, None, retain)) == 69
    assert half_life(lambda m: m * (1 - 0.001 * retain)) != 69
    assert half_life(lambda m: m * (1 - retain)) != 69


def test_retention_pulls_to_the_initial_state_or_to_zero() -> None:
    weights, initial = draw(S, D_OUT, D_IN, seed=1), draw(S, D_OUT, D_IN, seed=2)
    retain = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    pulled = decay_towards(weights, initial, retain)
    assert close(pulled[0], initial[0], 1e-12)
    assert close(pulled[2], weights[2], 1e-12)
    assert close(decay_towards(weights, None, 0.5), 0.5 * weights, 0.0)


def test_rules_pass_gradcheck() -> None:
    weights, inputs, surprises = (draw(2, 3, 4, seed=1), draw(2, 3, 4, seed=2), draw(2, 3, 3, seed=3))
    rates = torch.rand(2, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64) + 0.1
    factor = draw(2, 4, 4, seed=5)
    leaves = [t.requires_grad_() for t in (weights, inputs, surprises, rates)]
    assert torch.autograd.gradcheck(lambda w, x, d, r: rules.dgd(w, x, d, r).weights, leaves)

    def metric(w: Tensor, x: Tensor, v: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        inverse = f @ f.mT + torch.eye(4, dtype=torch.float64)
        step, retention = rules.ggd(w, x, v, AccumulatedMetric(inverse, 0.9))
        return step.weights, retention.inverse_metric

    assert torch.autograd.gradcheck(metric, [*leaves[:3], factor.requires_grad_()])
    token = [t.detach()[:, 0].requires_grad_() for t in (inputs, surprises)]
    for p in (1.5, 3.0):
        assert torch.autograd.gradcheck(
            lambda w, x, u, p=p: rules.ggd_lp(w, x, u, Euclidean(0.5), p)[0].weights, [weights, *token]
        )


def test_rate_zero_has_a_finite_gradient() -> None:
    rates = torch.tensor([0.0, 0.5], dtype=torch.float64, requires_grad=True)
    rules.dgd(draw(3, 4, seed=1), draw(2, 4, seed=2), draw(2, 3, seed=3), rates).weights.sum().backward()
    assert rates.grad is not None
    assert bool(rates.grad.isfinite().all())
