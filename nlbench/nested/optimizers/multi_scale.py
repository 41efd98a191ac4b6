"""M3, multi-scale momentum Muon: a fast and a slow orthogonalised momentum (Nested Learning, eq. 75 and Alg. 1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nlbench.nested.optimizers.orthogonal import ORTHOGONAL_DTYPE, newton_schulz


class M3State(NamedTuple):
    """Fast, slow momentum, the slow one's direction, gradients since its last update, second moment, last gradient if literal."""

    fast: Tensor
    slow: Tensor
    slow_direction: Tensor
    pending: Tensor
    second_moment: Tensor
    last_gradient: Tensor
    step: int


def m3_init(weights: Tensor) -> M3State:
    zeros = torch.zeros_like(weights)  # shared: rules never write in place
    return M3State(zeros, zeros, zeros, zeros, zeros, zeros, 0)


def m3(
    gradient: Tensor,
    state: M3State,
    *,
    lr: float,
    betas: tuple[float, float, float] = (0.95, 0.999, 0.9),
    slow_weight: float = 0.5,
    period: int = 32,
    ns_steps: int = 5,
    ns_dtype: torch.dtype | None = ORTHOGONAL_DTYPE,
) -> tuple[Tensor, M3State]:
    """Return (update, state), W⁺ = W + update, of M3 as resolved.

    Fast M¹ = β₁M¹ + (1-β₁)g; U = NS(M¹) + α O²; V = β₂V + (1-β₂)U² of the update, not the gradient; U/(√V̂ + ε) rescaled
    to RMS 0.2, times lr. After every `period` steps: slow M² = β₃M² + (1-β₃) mean(g), O² = NS(M²). The gradient's scale
    cancels, as it must for orthogonal updates. Printed differently: eq. 75 subtracts the slow term (it would ascend),
    Alg. 1 never decays, sums period + 1 gradients and divides by the gradient's second moment; see `m3_literal`. Cost:
    one Newton-Schulz a step, a second every `period`.
    """
    beta_fast, beta_second, beta_slow = betas
    step = state.step + 1
    fast = beta_fast * state.fast + (1 - beta_fast) * gradient
    direction = newton_schulz(fast, ns_steps, dtype=ns_dtype) + slow_weight * state.slow_direction
    second = beta_second * state.second_moment + (1 - beta_second) * direction.square()
    direction = direction / ((second / (1 - beta_second**step)).sqrt() + 1e-8)
    size = direction.square().mean((-2, -1), keepdim=True).sqrt().clamp_min(torch.finfo(gradient.dtype).tiny)
    update = -(lr * 0.2) * direction / size

    slow, slow_direction, pending = state.slow, state.slow_direction, state.pending + gradient
    if step % period == 0:
        slow = beta_slow * slow + (1 - beta_slow) * pending / period
        slow_direction = newton_schulz(slow, ns_steps, dtype=ns_dtype)
        pending = torch.zeros_like(pending)
    return update, M3State(fast, slow, slow_direction, pending, second, state.last_gradient, step)


def m3_literal(
    gradient: Tensor,
    state: M3State,
    *,
    lr: float,
    betas: tuple[float, float, float] = (0.95, 0.999, 0.9),
    slow_weight: float = 0.5,
    period: int = 32,
    ns_steps: int = 5,
    ns_dtype: torch.dtype | None = ORTHOGONAL_DTYPE,
) -> tuple[Tensor, M3State]:
    """Return (update, state) of Alg. 1 to the letter, for audits: undecayed sums, period + 1 gradients, √(V + ε) of the gradient.

    Gradients before the first step, which line 3 reads at k = 0 and 1, are zero. The update scales as 1/‖g‖ and fades as
    1/√t.
    """
    beta_fast, beta_second, beta_slow = betas
    slow, slow_direction, pending = state.slow, state.slow_direction, state.pending
    if state.step % period == 0:  # line 3 runs before the iteration's first step; the window overlaps the one before it
        slow = slow + beta_slow * pending
        slow_direction = newton_schulz(slow, ns_steps, dtype=ns_dtype)
        pending = state.last_gradient
    fast = state.fast + beta_fast * gradient
    second = state.second_moment + beta_second * gradient.square()
    direction = newton_schulz(fast, ns_steps, dtype=ns_dtype) + slow_weight * slow_direction
    update = -lr * direction / (second + 1e-8).sqrt()
    kept = gradient.clone()  # backward passes write into a parameter's gradient
    return update, M3State(fast, slow, slow_direction, pending + gradient, second, kept, state.step + 1)
