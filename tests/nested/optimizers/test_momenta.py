"""Momentum memories against torch, closed forms and their own invariants; the printed rules fail the same checks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from float64 import close, draw, run_beside
from torch import Tensor, nn

from nlbench.nested import optimizers as opt
from nlbench.nested.retention import Decayed
from nlbench.nested.rules import gm


def test_momentum_equals_torch_sgd() -> None:
    ours, theirs = (nn.Parameter(draw(4, 6, seed=1)) for _ in range(2))
    assert run_beside(opt.Momentum([ours], 0.1), torch.optim.SGD([theirs], 0.1, momentum=0.9)) < 1e-12


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
