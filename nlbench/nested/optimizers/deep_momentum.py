"""DMGD: the momentum is a two-layer network that learns, step by step, to map gradients to updates (Nested Learning, eq. 50)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nlbench.nested.retention import Scalar


class DeepMomentumState(NamedTuple):
    """The gradient average and the network θ = (inner, outer) shared by its rows; `start` is inner's first value."""

    average: Tensor  # (..., rows, columns)
    inner: Tensor  # (..., hidden, columns)
    outer: Tensor  # (..., columns, hidden)
    start: Tensor  # (..., hidden, columns)


def dmgd_init(weights: Tensor, *, hidden: int = 16, seed: int = 0) -> DeepMomentumState:
    """Return the first state: inner ~ N(0, 1/columns), the same for every leading index; outer = 0, so it starts as plain EMA."""
    columns = weights.shape[-1]
    inner = torch.randn(hidden, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / columns**0.5
    inner = inner.to(weights).expand(*weights.shape[:-2], hidden, columns).contiguous()
    outer = torch.zeros(*weights.shape[:-2], columns, hidden, dtype=weights.dtype, device=weights.device)
    return DeepMomentumState(torch.zeros_like(weights), inner, outer, inner.clone())


def dmgd(
    gradient: Tensor,
    state: DeepMomentumState,
    *,
    lr: Scalar,
    decay: float = 0.9,
    inner_lr: float = 0.1,
    inner_decay: float = 0.99,
    eps: float = 1e-30,
) -> tuple[Tensor, DeepMomentumState]:
    """Return (update, state): θ⁺ = decayed θ - inner_lr ∇½‖m(û) + û‖², update = lr m_{θ⁺}(û), W⁺ = W + update (eq. 50, resolved).

    û = g / RMS(g). m(û) = -ē + outer tanh(inner û), row by row, with ē the gradient average (first-order momentum, eq. 33
    normalised) over its own RMS. The paper's objective ⟨m(û), 1⟩ has no minimum; here the target is -û. The output is
    clipped to RMS 1 and scaled back to the RMS of the average, so c·g gives c times the update. θ decays to its start,
    not to zero, where it could not learn again.
    """
    average = decay * state.average + (1 - decay) * gradient
    scale = _rms(average, eps)
    residual, rows = average / scale, gradient / _rms(gradient, eps)

    hidden = torch.tanh(rows @ state.inner.mT)
    error = (hidden @ state.outer.mT - residual + rows) / rows.shape[-2]
    outer_gradient = error.mT @ hidden
    inner_gradient = ((error @ state.outer) * (1 - hidden.square())).mT @ rows / rows.shape[-1]
    outer = inner_decay * state.outer - inner_lr * outer_gradient / hidden.shape[-1]
    inner = state.start + inner_decay * (state.inner - state.start) - inner_lr * inner_gradient

    output = torch.tanh(rows @ inner.mT) @ outer.mT - residual
    update = lr * scale * output / _rms(output, eps).clamp_min(1.0)
    return update, DeepMomentumState(average, inner, outer, state.start)


def _rms(matrix: Tensor, eps: float) -> Tensor:
    return matrix.square().mean((-2, -1), keepdim=True).sqrt().clamp_min(eps)
