"""Momentum as an associative memory of gradients (Nested Learning, eq. 33 and 46-51).

Every rule returns (update, state) with W⁺ = W + update: the momentum carries the minus sign. Gradients are (..., rows,
columns), leading axes (seeds first) are independent. `lr` and `decay` are numbers or tensors that broadcast against the
gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nlbench.nested.retention import Scalar


class MomentumState(NamedTuple):
    momentum: Tensor


def momentum_init(weights: Tensor) -> MomentumState:
    return MomentumState(torch.zeros_like(weights))


def momentum(gradient: Tensor, state: MomentumState, *, lr: Scalar, decay: Scalar = 0.9) -> tuple[Tensor, MomentumState]:
    """Return m⁺ = αm - ηg (eq. 33). With g replaced by Pg, P positive definite, it is preconditioned momentum (eq. 47)."""
    update = decay * state.momentum - lr * gradient
    return update, MomentumState(update)


def delta_momentum(
    gradient: Tensor,
    state: MomentumState,
    preconditioned: Tensor | None = None,
    *,
    lr: Scalar,
    decay: Scalar = 0.9,
    contraction: float = 1.0,
    eps: float = 1e-12,
) -> tuple[Tensor, MomentumState]:
    """Return m⁺ = m(αI - η_c ĝᵀĝ) - ηPg with ĝ = g/(‖g‖_F + eps), η_c = `contraction` in [0, 1] (eq. 48-49, resolved).

    The paper's decay αI - gᵀg has no rate and explodes once ‖g‖² > 1 + α; here the factor never exceeds 1. No d x d
    matrix is formed.
    """
    direction = gradient / (torch.linalg.vector_norm(gradient, dim=(-2, -1), keepdim=True) + eps)
    kept = decay * state.momentum - contraction * (state.momentum @ direction.mT) @ direction
    update = kept - lr * (gradient if preconditioned is None else preconditioned)
    return update, MomentumState(update)


def odd_features(gradient: Tensor) -> Tensor:
    """Return φ(g) = [g; g⊙|g|; g³/‖g‖²] stacked on rows, (..., 3 rows, columns); odd, so that -g is written as -φ(g)."""
    square = gradient.square().sum((-2, -1), keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny)
    return torch.cat((gradient, gradient * gradient.abs(), gradient.pow(3) / square), -2)


def feature_momentum(
    gradient: Tensor,
    state: MomentumState,
    mixing: Tensor | None = None,
    *,
    lr: Scalar,
    decay: Scalar = 0.9,
    coefficients: tuple[float, float, float] = (1.0, 0.1, 0.1),
) -> tuple[Tensor, MomentumState]:
    """Return m⁺ = αm - ηPφ(g) (eq. 51, resolved: P maps φ back to W's shape).

    P is `mixing` (..., rows, 3 rows), or [c_1 I, c_2 I, c_3 I] from `coefficients`, all >= 0 so that the step descends.
    """
    features = odd_features(gradient)
    if mixing is None:
        mixed = sum(c * part for c, part in zip(coefficients, features.chunk(3, -2), strict=True))
    else:
        mixed = mixing @ features
    update = decay * state.momentum - lr * mixed
    return update, MomentumState(update)
