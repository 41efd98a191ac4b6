"""Preconditioners as memories: Adam's diagonal and Shampoo's factors (Nested Learning, eq. 38-41 and 101-111).

A second moment H⁺ = H - ζ(H - g⊙g) is one gradient step of a memory on ½‖H - g⊙g‖²: ζ = 1 - β. With β = 1 it is the
undecayed sum the paper prints (AdaGrad). Gradients are (..., rows, columns), leading axes (seeds first) are independent;
W⁺ = W + update.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def accumulate(memory: Tensor, value: Tensor, decay: float) -> Tensor:
    """Return β memory + (1 - β) value, or the sum memory + value at β = 1."""
    return memory + value if decay == 1 else decay * memory + (1 - decay) * value


def bias_correction(decay: float, step: int) -> float:
    """Return the weight 1 - β^t that an average of t values from zero has reached; 1 for the sum (β = 1)."""
    return 1.0 if decay == 1 else 1 - decay**step


class AdamState(NamedTuple):
    first_moment: Tensor
    second_moment: Tensor
    step: int


def adam_init(weights: Tensor) -> AdamState:
    return AdamState(torch.zeros_like(weights), torch.zeros_like(weights), 0)


def adam(
    gradient: Tensor, state: AdamState, *, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
) -> tuple[Tensor, AdamState]:
    """Return Adam's (update, state), equal to `torch.optim.AdamW` before weight decay; betas[1] = 1 is AdaGrad (eq. 101-106)."""
    beta1, beta2 = betas
    step = state.step + 1
    first = torch.lerp(state.first_moment, gradient, 1 - beta1)
    second = accumulate(state.second_moment, gradient.square(), beta2)
    scale = second.sqrt() / bias_correction(beta2, step) ** 0.5 + eps
    return -(lr / bias_correction(beta1, step)) * first / scale, AdamState(first, second, step)


class DiagonalState(NamedTuple):
    momentum: Tensor
    second_moment: Tensor
    step: int


def diagonal_init(weights: Tensor) -> DiagonalState:
    return DiagonalState(torch.zeros_like(weights), torch.zeros_like(weights), 0)


def preconditioned_momentum(
    gradient: Tensor, state: DiagonalState, *, lr: float, decay: float = 0.9, beta: float = 0.999, eps: float = 1e-8
) -> tuple[Tensor, DiagonalState]:
    """Return m⁺ = αm - ηPg, P = diag(√v̂ + eps)⁻¹ (eq. 47): the gradient is preconditioned before the momentum, unlike Adam."""
    step = state.step + 1
    second = accumulate(state.second_moment, gradient.square(), beta)
    update = decay * state.momentum - lr * gradient / ((second / bias_correction(beta, step)).sqrt() + eps)
    return update, DiagonalState(update, second, step)


class ShampooState(NamedTuple):
    """Momentum, the two factors L = Σ g gᵀ and R = Σ gᵀ g, and their inverse roots as last refreshed."""

    momentum: Tensor
    left: Tensor
    right: Tensor
    left_root: Tensor
    right_root: Tensor
    step: int


def shampoo_init(weights: Tensor) -> ShampooState:
    rows, columns = weights.shape[-2:]
    left, right = (weights.new_zeros(*weights.shape[:-2], size, size) for size in (rows, columns))
    return ShampooState(torch.zeros_like(weights), left, right, torch.zeros_like(left), torch.zeros_like(right), 0)


def inverse_root(matrix: Tensor, order: int, damping: float) -> Tensor:
    """Return (matrix + damping tr(matrix)/n I)^(-1/order) of positive semi-definite (..., n, n), by eigendecomposition; of zero,
    zero: what has seen no gradient has no direction to scale.
    """
    values, vectors = torch.linalg.eigh(matrix)
    mean = values.mean(-1, keepdim=True)
    raised = values.clamp_min(0) + (damping * mean).clamp_min(torch.finfo(matrix.dtype).tiny)
    return (vectors * torch.where(mean > 0, raised.pow(-1 / order), 0.0)[..., None, :]) @ vectors.mT


def shampoo(
    gradient: Tensor,
    state: ShampooState,
    *,
    lr: float,
    momentum: float = 0.9,
    decay: float = 0.99,
    refresh: int = 20,
    damping: float = 1e-6,
    one_sided: bool = False,
) -> tuple[Tensor, ShampooState]:
    """Return -lr L^(-1/4) m R^(-1/4), or -lr L^(-1/2) m one-sided (eq. 111), m the bias-corrected average of gradients.

    The two powers add up to -½ of a squared gradient: with averaged factors (decay < 1) the update does not depend on the
    gradient's scale; decay = 1 sums them (AdaGrad). Roots are recomputed every `refresh` steps, and at each of the first
    `refresh`, while they change fast.
    """
    step = state.step + 1
    average = momentum * state.momentum + (1 - momentum) * gradient
    left = accumulate(state.left, gradient @ gradient.mT, decay)
    right = state.right if one_sided else accumulate(state.right, gradient.mT @ gradient, decay)
    left_root, right_root = state.left_root, state.right_root
    if step <= refresh or step % refresh == 0:
        reached = bias_correction(decay, step)
        left_root = inverse_root(left / reached, 2 if one_sided else 4, damping)
        right_root = right_root if one_sided else inverse_root(right / reached, 4, damping)
    direction = left_root @ average if one_sided else left_root @ average @ right_root
    update = -(lr / bias_correction(momentum, step)) * direction
    return update, ShampooState(average, left, right, left_root, right_root, step)
