"""The optimizers' pure rules against closed forms, autograd and their own invariants; the same checks reject the faulty rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nlbench.nested import optimizers as opt
from nlbench.nested.retention import Decayed
from nlbench.nested.rules import gm


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> bool:
    return actual.shape == expected.shape and float((actual - expected).detach().abs().max()) <= tolerance


# Newton-Schulz


def spectrum(values: Tensor, rows: int, columns: int) -> Tensor:
    left, right = torch.linalg.qr(draw(rows, rows, seed=1))[0], torch.linalg.qr(draw(columns, columns, seed=2))[0]
    rank = min(rows, columns)
    return left[:, :rank] @ torch.diag(values) @ right[:, :rank].mT


def test_newton_schulz_brings_every_singular_value_from_a_two_hundredth_up_near_one() -> None:
    """In [.65, 1.25] from .005 of the Frobenius norm up, on a dense grid of pairs (s, √(1 - s²)); a tenth is too small."""
    small = torch.linspace(0.005, 0.7, 5000, dtype=torch.float64)
    seen = torch.linalg.svdvals(opt.newton_schulz(torch.diag_embed(torch.stack((small, (1 - small**2).sqrt()), -1)), dtype=None))
    assert 0.65 < float(seen.min()) <= float(seen.max()) < 1.25
    tiny = torch.diag(torch.tensor([0.0005, 1.0], dtype=torch.float64))
    assert float(torch.linalg.svdvals(opt.newton_schulz(tiny, dtype=None)).min()) < 0.65


@pytest.mark.parametrize(("rows", "columns"), [(24, 24), (24, 60), (60, 24)])
def test_newton_schulz_keeps_singular_vectors_at_any_shape_and_scale(rows: int, columns: int) -> None:
    steep = torch.logspace(0, -1.9, 24, dtype=torch.float64)
    assert float(steep.min() / steep.norm()) > 0.005
    matrix = spectrum(steep, rows, columns)
    polar = spectrum(torch.ones_like(steep), rows, columns)
    for scale in (1e-4, 1.0, 1e4):
        result = opt.newton_schulz(scale * matrix, dtype=None)
        assert result.shape == matrix.shape
        assert float(torch.linalg.matrix_norm(result - polar, 2)) < 0.35
    assert float(torch.linalg.matrix_norm(opt.newton_schulz(matrix, 15, opt.CUBIC, None) - polar, 2)) < 0.35
    assert float(torch.linalg.matrix_norm(opt.newton_schulz(matrix, 3, opt.CUBIC, None) - polar, 2)) > 0.35


def test_cubic_newton_schulz_is_one_gradient_step_of_distance_plus_orthogonality() -> None:
    """(1 + 2ζ)g - 2ζ g gᵀg descends ½‖O - g‖² + ½‖OᵀO - I‖² from O = g; ζ = ¼ is the cubic (eq. 43-44 with the missing term)."""
    g = draw(5, 5, seed=1)
    g = g / g.norm()
    leaf = g.clone().requires_grad_()
    objective = 0.5 * (leaf - g).square().sum() + 0.5 * (leaf.mT @ leaf - torch.eye(5, dtype=torch.float64)).square().sum()
    (gradient,) = torch.autograd.grad(objective, leaf)
    assert close(opt.newton_schulz(g, 1, opt.CUBIC, None), g - 0.25 * gradient)


def test_newton_schulz_of_nothing_is_nothing_and_keeps_the_dtype() -> None:
    assert not opt.newton_schulz(torch.zeros(3, 4, 5)).any()
    assert opt.newton_schulz(draw(3, 4)).dtype == torch.float64


# Momentum memories


def stays_bounded(rule: Callable[[Tensor, Tensor], Tensor], size: float) -> bool:
    momentum = torch.zeros(5, 8, dtype=torch.float64)
    for t in range(300):
        gradient = draw(5, 8, seed=t)
        momentum = rule(momentum, size * gradient / gradient.norm())
    return bool(momentum.isfinite().all()) and float(momentum.norm()) < 20 * size


def test_delta_momentum_stays_bounded_for_large_gradients_where_the_printed_rule_explodes() -> None:
    def ours(momentum: Tensor, gradient: Tensor) -> Tensor:
        return opt.delta_momentum(gradient, opt.MomentumState(momentum), lr=1.0)[0]

    def printed(momentum: Tensor, gradient: Tensor) -> Tensor:
        """Eq. 49: m(αI - gᵀg) - ηg."""
        return 0.9 * momentum - momentum @ gradient.mT @ gradient - gradient

    assert stays_bounded(ours, 1e3)
    assert stays_bounded(ours, 1e-3)
    assert stays_bounded(printed, 0.5)
    assert not stays_bounded(printed, 1e3)


def test_delta_momentum_equals_the_matrix_form_and_is_scale_equivariant() -> None:
    momentum, gradient = draw(5, 8, seed=1), draw(5, 8, seed=2)
    unit = gradient / gradient.norm()
    expected = momentum @ (0.9 * torch.eye(8, dtype=torch.float64) - 0.7 * unit.mT @ unit) - 0.1 * gradient
    state = opt.MomentumState(momentum)
    assert close(opt.delta_momentum(gradient, state, lr=0.1, contraction=0.7)[0], expected)
    scaled = opt.delta_momentum(1e3 * gradient, opt.MomentumState(1e3 * momentum), lr=0.1, contraction=0.7)[0]
    assert close(scaled / 1e3, expected)
    preconditioned = opt.delta_momentum(gradient, state, 2 * gradient, lr=0.05, contraction=0.7)[0]
    assert close(preconditioned, expected)


def test_delta_momentum_is_the_l2_memory_of_gradients() -> None:
    """Its erasing part is GM with the L2 loss, key ĝ and value 0 as the rate goes to infinity."""
    momentum, gradient = draw(1, 8, seed=1), draw(1, 8, seed=2)
    erased = gm(momentum, gradient / gradient.norm(), torch.zeros(1, 1, dtype=torch.float64), Decayed(1e12, 1.0))[0].weights
    ours = opt.delta_momentum(gradient, opt.MomentumState(momentum), lr=0.0, decay=1.0)[0]
    assert close(ours, erased, 1e-9)


def is_odd(features: Callable[[Tensor], Tensor]) -> bool:
    gradient = draw(3, 4, seed=1)
    return close(features(-gradient), -features(gradient))


def test_higher_order_features_are_odd_and_even_ones_are_rejected() -> None:
    assert is_odd(opt.odd_features)
    assert not is_odd(lambda g: torch.cat((g, g.square(), g.pow(3)), -2))
    assert opt.odd_features(torch.zeros(2, 3, 4)).shape == (2, 9, 4)


def test_feature_momentum_mixes_features_back_to_the_weights_shape() -> None:
    gradient, state = draw(3, 4, seed=1), opt.MomentumState(draw(3, 4, seed=2))
    mixing = torch.cat([c * torch.eye(3, dtype=torch.float64) for c in (1.0, 0.1, 0.1)], -1)
    by_coefficients = opt.feature_momentum(gradient, state, lr=0.1)[0]
    cube = gradient.pow(3) / gradient.square().sum()
    expected = 0.9 * state.momentum - 0.1 * (gradient + 0.1 * gradient * gradient.abs() + 0.1 * cube)
    assert close(by_coefficients, expected)
    assert close(opt.feature_momentum(gradient, state, mixing, lr=0.1)[0], expected)


def test_preconditioned_momentum_preconditions_before_the_momentum() -> None:
    state, expected = opt.diagonal_init(torch.zeros(3, 4, dtype=torch.float64)), torch.zeros(3, 4, dtype=torch.float64)
    second = torch.zeros(3, 4, dtype=torch.float64)
    for t in range(1, 8):
        gradient = draw(3, 4, seed=t)
        update, state = opt.preconditioned_momentum(gradient, state, lr=0.1, beta=0.9)
        second = 0.9 * second + 0.1 * gradient.square()
        expected = 0.9 * expected - 0.1 * gradient / ((second / (1 - 0.9**t)).sqrt() + 1e-8)
        assert close(update, expected)


# DMGD


def test_dmgd_moves_its_network_down_the_inner_loss() -> None:
    """θ⁺ - θ is minus the autograd gradient of ½ mean‖m(û) + û‖², rates per layer width, decay off."""
    gradient = draw(6, 9, seed=1)
    state = opt.dmgd_init(gradient, hidden=4)
    state = state._replace(outer=draw(9, 4, seed=2), average=draw(6, 9, seed=3))
    average = 0.9 * state.average + 0.1 * gradient
    rows, residual = gradient / gradient.square().mean().sqrt(), average / average.square().mean().sqrt()
    inner, outer = state.inner.clone().requires_grad_(), state.outer.clone().requires_grad_()
    output = torch.tanh(rows @ inner.mT) @ outer.mT - residual
    loss = 0.5 * (output + rows).square().sum(-1).mean()
    by_inner, by_outer = torch.autograd.grad(loss, (inner, outer))
    _, new = opt.dmgd(gradient, state, lr=1.0, inner_lr=0.1, inner_decay=1.0)
    assert close(new.inner, state.inner - 0.1 / 9 * by_inner)
    assert close(new.outer, state.outer - 0.1 / 4 * by_outer)


def test_dmgd_starts_as_ema_and_is_scale_equivariant() -> None:
    first, scaled = opt.dmgd_init(draw(6, 9)), opt.dmgd_init(draw(6, 9))
    for t in range(30):
        gradient = draw(6, 9, seed=t)
        update, first = opt.dmgd(gradient, first, lr=0.1)
        big, scaled = opt.dmgd(1e3 * gradient, scaled, lr=0.1)
        assert close(big / 1e3, update)
        limit = 0.1 * first.average.square().mean().sqrt()
        assert float(update.square().mean().sqrt()) <= float(limit) * (1 + 1e-9)
    gradient = draw(6, 9, seed=99)
    fresh = opt.dmgd_init(gradient)
    assert close(opt.dmgd(gradient, fresh, lr=0.1, inner_lr=0.0)[0], -0.1 * 0.1 * gradient)


def output_layer_stays_bounded(step: Callable[[Tensor, Tensor], Tensor]) -> bool:
    outer = torch.zeros(9, 4, dtype=torch.float64)
    for _ in range(2000):
        outer = step(outer, draw(6, 9, seed=1))
    return float(outer.abs().max()) < 10


def test_dmgd_objective_has_a_minimum_and_the_printed_one_has_none() -> None:
    """Eq. 50's ⟨m(u), 1⟩ is linear in the output layer: descending it moves without end."""
    state = opt.dmgd_init(draw(6, 9), hidden=4)

    def ours(outer: Tensor, gradient: Tensor) -> Tensor:
        return opt.dmgd(gradient, state._replace(outer=outer), lr=0.1, inner_decay=1.0)[1].outer

    def printed(outer: Tensor, gradient: Tensor) -> Tensor:
        hidden = torch.tanh(gradient @ state.inner.mT)
        return outer - 0.1 / 4 * torch.ones(6, 9, dtype=torch.float64).mT @ hidden / 6

    assert output_layer_stays_bounded(ours)
    assert not output_layer_stays_bounded(printed)


# Shampoo


Precondition = Callable[[list[Tensor]], Tensor]


def scale_exponent(rule: Precondition) -> float:
    """Return p where the update of c·g is c^p times the update of g."""
    gradients = [draw(5, 8, seed=t) for t in range(12)]
    ratio = rule([1e3 * g for g in gradients]).norm() / rule(gradients).norm()
    return float(ratio.log10()) / 3


def run_shampoo(gradients: list[Tensor], **settings: Any) -> Tensor:
    state = opt.shampoo_init(gradients[0])
    for gradient in gradients:
        update, state = opt.shampoo(gradient, state, lr=0.1, **settings)
    return update


def shampoo_with_half_powers(gradients: list[Tensor]) -> Tensor:
    """Seed system 1: both sides to the power -½."""
    left = sum(g @ g.mT for g in gradients) / len(gradients)
    right = sum(g.mT @ g for g in gradients) / len(gradients)
    return opt.inverse_root(left, 2, 1e-6) @ gradients[-1] @ opt.inverse_root(right, 2, 1e-6)


@pytest.mark.parametrize("settings", [{}, {"one_sided": True}, {"decay": 1.0}, {"refresh": 3}])
def test_shampoo_update_does_not_depend_on_the_gradients_scale(settings: dict[str, Any]) -> None:
    assert abs(scale_exponent(lambda gradients: run_shampoo(gradients, **settings))) < 1e-8


def test_the_check_of_scale_rejects_half_powers_on_both_sides() -> None:
    assert abs(scale_exponent(shampoo_with_half_powers) + 1) < 1e-8


def test_shampoo_equals_its_closed_form() -> None:
    gradients = [draw(5, 4, seed=t) for t in range(8)]
    weight = [0.01 * 0.99 ** (7 - t) / (1 - 0.99**8) for t in range(8)]
    left = sum(w * g @ g.mT for w, g in zip(weight, gradients, strict=True))
    right = sum(w * g.mT @ g for w, g in zip(weight, gradients, strict=True))
    average = sum(0.1 * 0.9 ** (7 - t) * g for t, g in enumerate(gradients)) / (1 - 0.9**8)
    expected = -0.1 * opt.inverse_root(left, 4, 1e-6) @ average @ opt.inverse_root(right, 4, 1e-6)
    assert close(run_shampoo(gradients), expected)
    one_sided = -0.1 * opt.inverse_root(left, 2, 1e-6) @ average
    assert close(run_shampoo(gradients, one_sided=True), one_sided)


def test_shampoo_waits_for_its_roots_where_gradients_appear_between_two_refreshes() -> None:
    """Factors of zero have no root: a huge one would throw the weights away at the first gradient."""
    silence = [torch.zeros(5, 4, dtype=torch.float64)] * 25
    assert not run_shampoo([*silence, draw(5, 4)], refresh=10).any()
    afterwards = run_shampoo([*silence, *(draw(5, 4, seed=t) for t in range(5))], refresh=10)
    assert 0 < float(afterwards.abs().max()) < 1


@pytest.mark.parametrize("order", [2, 4])
def test_inverse_root_inverts_the_power(order: int) -> None:
    factor = draw(3, 6, 6, seed=1)
    matrix = factor @ factor.mT + torch.eye(6, dtype=torch.float64)
    root = opt.inverse_root(matrix, order, 0.0)
    identity = torch.linalg.matrix_power(root, order) @ matrix
    assert close(identity, torch.eye(6, dtype=torch.float64).expand(3, 6, 6), 1e-9)


# M3


def m3_updates(rule: Callable[..., Any], scale: float, steps: int, **settings: Any) -> list[Tensor]:
    state, updates = opt.m3_init(torch.zeros(6, 9, dtype=torch.float64)), []
    for t in range(steps):
        update, state = rule(scale * draw(6, 9, seed=t), state, lr=1.0, period=4, ns_dtype=None, **settings)
        updates.append(update)
    return updates


def rms(matrix: Tensor) -> float:
    return float(matrix.square().mean().sqrt())


def test_m3_is_invariant_to_the_gradients_scale_and_the_letter_is_not() -> None:
    plain, scaled = (m3_updates(opt.m3, scale, 12) for scale in (1.0, 1e-4))
    assert all(close(a, b) for a, b in zip(plain, scaled, strict=True))
    assert all(abs(rms(update) - 0.2) < 1e-6 for update in plain)
    plain, scaled = (m3_updates(opt.m3_literal, scale, 64) for scale in (1.0, 1e-2))
    assert 50 < rms(scaled[0]) / rms(plain[0]) < 200
    assert rms(plain[-1]) < 0.3 * rms(plain[0])


def test_m3_is_not_adam() -> None:
    state = opt.adam_init(torch.zeros(6, 9, dtype=torch.float64))
    for t, update in enumerate(m3_updates(opt.m3, 1.0, 12)):
        adam, state = opt.adam(draw(6, 9, seed=t), state, lr=1.0)
        cosine = float((update * adam).sum() / (update.norm() * adam.norm()))
        assert cosine < 0.999


def test_m3_slow_momentum_averages_each_period_once() -> None:
    state = opt.m3_init(torch.zeros(6, 9, dtype=torch.float64))
    slow = torch.zeros(6, 9, dtype=torch.float64)
    for t in range(1, 13):
        gradient = draw(6, 9, seed=t)
        before = state.slow
        _, state = opt.m3(gradient, state, lr=1.0, period=4, ns_dtype=None)
        assert torch.equal(state.slow, before) is (t % 4 != 0)
        if t % 4 == 0:
            mean = sum(draw(6, 9, seed=i) for i in range(t - 3, t + 1)) / 4
            slow = 0.9 * slow + 0.1 * mean
            assert close(state.slow, slow)
            assert not state.pending.any()


def slow_term_descends(rule: Callable[..., Any]) -> bool:
    """Whether the update still descends a constant gradient when only the slow momentum speaks."""
    gradient = draw(6, 9, seed=1)
    state = opt.m3_init(gradient)
    for _ in range(8):
        _, state = rule(gradient, state)
    update, _ = rule(torch.zeros_like(gradient), state._replace(fast=torch.zeros_like(gradient)))
    return float((update * gradient).sum()) < 0


def test_m3_slow_term_descends_and_the_sign_of_eq_75_ascends() -> None:
    settings: dict[str, Any] = {"lr": 1.0, "period": 4, "ns_dtype": None}
    assert slow_term_descends(lambda g, s: opt.m3(g, s, **settings))
    assert slow_term_descends(lambda g, s: opt.m3_literal(g, s, **settings))
    assert not slow_term_descends(lambda g, s: opt.m3(g, s, slow_weight=-0.5, **settings))


def test_m3_literal_is_algorithm_one_to_the_letter() -> None:
    """Accumulators without decay; line 3 adds β₃ Σ of the gradients (k-1)f .. kf, f + 1 of them, zero before the first."""
    f, gradients = 4, {t: draw(6, 9, seed=t) for t in range(1, 13)}
    fast, slow, second = (torch.zeros(6, 9, dtype=torch.float64) for _ in range(3))
    expected = []
    for k in range(3):
        slow = slow + 0.9 * sum(gradients.get(i, torch.zeros_like(slow)) for i in range((k - 1) * f, k * f + 1))
        slow_direction = opt.newton_schulz(slow, dtype=None)
        for t in range(k * f + 1, (k + 1) * f + 1):
            fast, second = fast + 0.95 * gradients[t], second + 0.999 * gradients[t].square()
            direction = opt.newton_schulz(fast, dtype=None) + 0.5 * slow_direction
            expected.append(-direction / (second + 1e-8).sqrt())
    state = opt.m3_init(slow)
    for t, update in enumerate(expected, 1):
        ours, state = opt.m3_literal(gradients[t], state, lr=1.0, period=f, ns_dtype=None)
        assert close(ours, update)
