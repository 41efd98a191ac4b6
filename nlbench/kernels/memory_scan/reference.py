"""The chunk-parallel form of the delta family, one equation a line, in plain differentiable torch.

Letters: C tokens of one chunk; Γ[t, i] = Π_{i<l≤t} α_l; γ̄_t = Γ[t-1, 0]; Λ[t, i] = Γ[t-1, i]; s_i = Γ[C, i].
Products of the α themselves, not differences of their logarithms: α = 0 is then an ordinary value and its gradient exact.
"""

from __future__ import annotations

import torch
from torch import Tensor


def scan(
    memory: Tensor,
    keys: Tensor,
    targets: Tensor,
    rate: Tensor,
    retain: Tensor,
    chunk: int,
    residual: str,
    probes: Tensor | None,
    queries: Tensor | None,
    read: str,
    momentum: Tensor | None,
    velocity: Tensor | None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Memory, outputs and velocity after all tokens; arguments as in `memory_scan`, but for probes: its values less the keys."""
    outputs = []
    tokens = (keys, targets, rate, retain, probes, queries, momentum)
    for k, r, eta, alpha, p, q, mu in zip(*(split(each, chunk, like=rate) for each in tokens), strict=True):
        if residual == "minus_prediction":
            r = r - k @ memory.mT
        elif p is not None:
            r = r + p @ memory.mT
        if q is not None and read == "stale":
            outputs.append(q @ memory.mT)
        if mu is None or velocity is None:
            memory, exact = chunk_step(memory, k, r, eta, alpha, q)
        else:
            memory, velocity, exact = momentum_chunk_step(memory, velocity, k, r, eta, alpha, mu, q)
        if exact is not None and read == "exact":
            outputs.append(exact)
    return memory, torch.cat(outputs, -2) if queries is not None else None, velocity


def split(tokens: Tensor | None, chunk: int, *, like: Tensor) -> tuple[Tensor, ...] | list[None]:
    """The chunks of (S, H, L, …) along the tokens; as many times None for no tensor."""
    return [None] * max(1, -(-like.shape[2] // chunk)) if tokens is None else tokens.split(chunk, 2)


def decay_products(factors: Tensor) -> Tensor:
    """Γ[t, i] = Π_{i<l≤t} factors_l for 0 ≤ i ≤ t ≤ C, zero above the diagonal: (..., C) -> (..., C + 1, C + 1)."""
    size = factors.shape[-1] + 1
    below = torch.ones(size, size, dtype=torch.bool, device=factors.device).tril(-1)
    shifted = torch.cat([factors.new_ones(*factors.shape[:-1], 1), factors], -1)
    return torch.where(below, shifted[..., :, None], 1.0).cumprod(-2).tril()


def unit_lower_solve(strictly_lower: Tensor, right: Tensor) -> Tensor:
    """(I + A)⁻¹ right, for A given below its diagonal; of bfloat16 in float32, as torch has no such solve."""
    A, b = (each.to(torch.promote_types(each.dtype, torch.float32)) for each in (strictly_lower, right))
    return torch.linalg.solve_triangular(A, b, upper=False, unitriangular=True).to(right.dtype)


def chunk_step(
    memory: Tensor, keys: Tensor, residuals: Tensor, rate: Tensor, retain: Tensor, queries: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """M_C and the exact reads M_{t-1} q_t of one chunk whose residual rows are known."""
    decay = decay_products(retain)
    Lambda, s = decay[..., :-1, 1:].tril(-1), decay[..., -1, 1:]
    gamma_before, gamma_last = decay[..., :-1, 0], decay[..., -1, 0]
    A = rate[..., None] * (Lambda * (keys @ keys.mT))
    E = unit_lower_solve(A, rate[..., None] * (residuals - gamma_before[..., None] * (keys @ memory.mT)))
    new_memory = gamma_last[..., None, None] * memory + (s[..., None] * E).mT @ keys
    if queries is None:
        return new_memory, None
    return new_memory, gamma_before[..., None] * (queries @ memory.mT) + (Lambda * (queries @ keys.mT)) @ E


def momentum_chunk_step(
    memory: Tensor,
    velocity: Tensor,
    keys: Tensor,
    residuals: Tensor,
    rate: Tensor,
    retain: Tensor,
    momentum: Tensor,
    queries: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """M_C, S_C and the exact reads of one chunk with momentum; one solve for m_t = M_{t-1} k_t.

    w(t, i) = Σ_j Γ_α[t, j] Γ_μ[j, i] is what token i's write has become by token t; c_t, what the old velocity has.
    """
    decay, carry = decay_products(retain), decay_products(momentum)
    Lambda, s = decay[..., :-1, 1:].tril(-1), decay[..., -1, 1:]
    gamma_before, gamma_last = decay[..., :-1, 0], decay[..., -1, 0]
    w = decay[..., 1:, 1:] @ carry[..., 1:, 1:]
    c = (decay[..., 1:, 1:] @ carry[..., 1:, :1]).squeeze(-1)
    w_before = torch.cat([torch.zeros_like(w[..., :1, :]), w[..., :-1, :]], -2)
    c_before = torch.cat([torch.zeros_like(c[..., :1]), c[..., :-1]], -1)
    writes, similarity = rate[..., None] * residuals, keys @ keys.mT
    right = (
        gamma_before[..., None] * (keys @ memory.mT)
        + c_before[..., None] * (keys @ velocity.mT)
        + (w_before * similarity) @ writes
    )
    erased = rate[..., None] * unit_lower_solve(Lambda * similarity * rate[..., None, :], right)
    new_memory = gamma_last[..., None, None] * memory + c[..., -1, None, None] * velocity
    new_memory = new_memory + (w[..., -1, :, None] * writes - s[..., None] * erased).mT @ keys
    new_velocity = carry[..., -1, 0, None, None] * velocity + (carry[..., -1, 1:, None] * writes).mT @ keys
    if queries is None:
        return new_memory, new_velocity, None
    exact = gamma_before[..., None] * (queries @ memory.mT) + c_before[..., None] * (queries @ velocity.mT)
    overlap = queries @ keys.mT
    return new_memory, new_velocity, exact + (w_before * overlap) @ writes - (Lambda * overlap) @ erased
