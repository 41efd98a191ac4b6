"""DMGD descends its inner loss, which has a minimum; the printed one has none."""

from __future__ import annotations

from collections.abc import Callable

import torch
from float64 import close, draw
from torch import Tensor

from nlbench.nested import optimizers as opt


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
