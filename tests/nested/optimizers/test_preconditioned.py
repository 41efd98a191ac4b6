"""AdamW and AdaGrad are torch's; Shampoo equals its closed form and does not depend on the gradients' scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from float64 import close, draw, run_beside
from torch import Tensor, nn

from nlbench.nested import optimizers as opt


def test_adamw_equals_torch() -> None:
    ours, theirs = (nn.Parameter(draw(4, 6, 5, seed=1)) for _ in range(2))
    mine = opt.AdamW([ours], 3e-3, weight_decay=0.02, betas=(0.8, 0.95))
    assert run_beside(mine, torch.optim.AdamW([theirs], 3e-3, weight_decay=0.02, betas=(0.8, 0.95))) < 1e-13


def test_adam_with_a_summed_second_moment_is_adagrad() -> None:
    """betas = (0, 1) is the ridge solution with H = Σ g⊙g, undecayed as in eq. 101-106."""
    ours, theirs = (nn.Parameter(draw(4, 6, seed=1)) for _ in range(2))
    mine = opt.AdamW([ours], 0.1, betas=(0.0, 1.0), eps=1e-10)
    assert run_beside(mine, torch.optim.Adagrad([theirs], 0.1)) < 1e-12


def test_second_moment_is_a_gradient_step_of_an_associative_memory() -> None:
    """V⁺ = V - (1-β)(V - g⊙g): the L2 memory with key 1 and value g⊙g that Adam's preconditioner is (eq. 38-41)."""
    state = opt.adam_init(torch.zeros(4, 6, dtype=torch.float64))
    memory = torch.zeros(24, dtype=torch.float64)
    for t in range(10):
        gradient = draw(4, 6, seed=t)
        _, state = opt.adam(gradient, state, lr=0.1, betas=(0.9, 0.95))
        memory = memory - 0.05 * (memory - gradient.square().flatten())
    assert close(state.second_moment.flatten(), memory, 1e-12)


def test_preconditioned_momentum_preconditions_before_the_momentum() -> None:
    state, expected = opt.diagonal_init(torch.zeros(3, 4, dtype=torch.float64)), torch.zeros(3, 4, dtype=torch.float64)
    second = torch.zeros(3, 4, dtype=torch.float64)
    for t in range(1, 8):
        gradient = draw(3, 4, seed=t)
        update, state = opt.preconditioned_momentum(gradient, state, lr=0.1, beta=0.9)
        second = 0.9 * second + 0.1 * gradient.square()
        expected = 0.9 * expected - 0.1 * gradient / ((second / (1 - 0.9**t)).sqrt() + 1e-8)
        assert close(update, expected)


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
