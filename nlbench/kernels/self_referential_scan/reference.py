"""The self-referential block chunk by chunk: one triangular solve per chunk gives (G, B), and every memory follows from them.

For base = I (reads z + W z) or 0 (reads w·z) and D = W - W_initial:  D_C = D_0 G + (base + W_initial) B.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nlbench.kernels.memory_scan.reference import chunk_step, decay_products, unit_lower_solve
from nlbench.kernels.self_referential_scan import Memories

TINY = 1e-12


def scan(
    inputs: Tensor,
    queries: Tensor,
    memories: Memories,
    rate_bias: Tensor,
    retain_bias: Tensor,
    chunk: int,
    outer_chunk: int,
    rate_max: float,
    outer_rate_max: float,
    retain_min: float,
    objective: str,
    read: str,
    normalize_values: bool,
    initial: Memories | None,
    target_clip: float | None,
    truncation: int | None,
) -> tuple[Memories, Tensor]:
    """Memories and outputs after all tokens; arguments as in `self_referential_scan`."""
    if initial is None:
        initial = Memories(*(torch.zeros_like(state) for state in memories))
    identity = torch.eye(inputs.shape[-1], dtype=inputs.dtype, device=inputs.device)
    nothing = torch.zeros_like(identity[:1])
    W_key, W_value, w_rate, w_retain, W_memory = memories
    outputs = []
    for number, start in enumerate(range(0, inputs.shape[-2], outer_chunk)):
        segment = slice(start, start + outer_chunk)
        if truncation is not None and number % truncation == 0:
            states = W_key, W_value, w_rate, w_retain, W_memory
            W_key, W_value, w_rate, w_retain, W_memory = map(held, states, initial)
        x, q = inputs[..., segment, :], queries[..., segment, :]
        k = unit(x + x @ W_key.mT)
        v = x + x @ W_value.mT
        v = unit(v) if normalize_values else v
        share = torch.sigmoid((x @ w_rate[..., None]).squeeze(-1) + rate_bias[..., None])
        retain = retain_min + (1 - retain_min) * torch.sigmoid((x @ w_retain[..., None]).squeeze(-1) + retain_bias[..., None])
        probes = v - k if objective == "l2" else v

        if target_clip is not None:
            outputs.append(q + q @ W_memory.mT)
            states = W_key, W_value, w_rate[..., None, :], w_retain[..., None, :], W_memory
            homes = initial._replace(rate=initial.rate[..., None, :], retain=initial.retain[..., None, :])
            W_key, W_value, w_rate, w_retain, W_memory = (
                advance_clipped(state, home, base, v, v - probes, k, rate_max * share, retain, target_clip)
                for state, home, base in zip(states, homes, (identity, identity, nothing, nothing, identity), strict=True)
            )
            w_rate, w_retain = w_rate.squeeze(-2), w_retain.squeeze(-2)
            continue

        for inner in range(0, x.shape[-2], chunk):
            token = slice(inner, inner + chunk)
            solved = chunk_factors(k[..., token, :], probes[..., token, :], rate_max * share[..., token], retain[..., token])
            outputs.append(
                q[..., token, :] + read_chunk(W_memory, initial.memory, q[..., token, :], k[..., token, :], solved, read)
            )
            W_memory = advance(W_memory, initial.memory, identity, solved)

        solved = chunk_factors(k, probes, outer_rate_max * share, retain)
        W_key, W_value = advance(W_key, initial.keys, identity, solved), advance(W_value, initial.values, identity, solved)
        w_rate = advance(w_rate[..., None, :], initial.rate[..., None, :], nothing, solved).squeeze(-2)
        w_retain = advance(w_retain[..., None, :], initial.retain[..., None, :], nothing, solved).squeeze(-2)
    return Memories(W_key, W_value, w_rate, w_retain, W_memory), torch.cat(outputs, -2)


def unit(x: Tensor) -> Tensor:
    """x / |x| along the last axis; the zero vector stays zero."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + TINY)


class Factors(NamedTuple):
    """What one chunk does to every memory: E = write (base + W)ᵀ - erase Dᵀ, with W = W_initial + D at the chunk start."""

    G: Tensor
    B: Tensor
    write: Tensor
    erase: Tensor
    decay: Tensor


def chunk_factors(keys: Tensor, probes: Tensor, rate: Tensor, retain: Tensor) -> Factors:
    """The state-free part of one chunk: a C × C solve with 2 d right-hand sides."""
    decay = decay_products(retain)
    Lambda, s = decay[..., :-1, 1:].tril(-1), decay[..., -1, 1:]
    gamma_before, gamma_last = decay[..., :-1, 0], decay[..., -1, 0]
    A = rate[..., None] * (Lambda * (keys @ keys.mT))
    right = rate[..., None] * torch.cat([probes, gamma_before[..., None] * keys], -1)
    write, erase = unit_lower_solve(A, right).chunk(2, -1)
    scaled = s[..., None] * keys
    B = write.mT @ scaled
    identity = torch.eye(keys.shape[-1], dtype=keys.dtype, device=keys.device)
    G = gamma_last[..., None, None] * identity - erase.mT @ scaled + B
    return Factors(G, B, write, erase, decay)


def advance(state: Tensor, initial: Tensor, base: Tensor, factors: Factors) -> Tensor:
    """The state after the chunk: W_initial + (W - W_initial) G + (base + W_initial) B."""
    return initial + (state - initial) @ factors.G + (base + initial) @ factors.B


def held(state: Tensor, initial: Tensor) -> Tensor:
    """The state, through which gradients reach its initial state alone."""
    return initial + (state - initial).detach()


def advance_clipped(
    state: Tensor,
    initial: Tensor,
    base: Tensor,
    values: Tensor,
    subtracted: Tensor,
    keys: Tensor,
    rate: Tensor,
    retain: Tensor,
    longest: float,
) -> Tensor:
    """The state after the chunk where targets (base + W) v are at most so long; subtracted: k for "l2", or 0."""
    answers = (base + state).mT
    target = values @ answers
    target = target * (longest / torch.linalg.vector_norm(target, dim=-1, keepdim=True).clamp_min(longest))
    return initial + chunk_step(state - initial, keys, target - subtracted @ answers, rate, retain, None)[0]


def read_chunk(state: Tensor, initial: Tensor, queries: Tensor, keys: Tensor, factors: Factors, read: str) -> Tensor:
    """W q for every token of the chunk, from the state at its start or from the state of the token before."""
    stale = queries @ state.mT
    if read == "stale":
        return stale
    identity = torch.eye(keys.shape[-1], dtype=keys.dtype, device=keys.device)
    difference = state - initial
    E = factors.write @ (identity + state).mT - factors.erase @ difference.mT
    gamma_before, Lambda = factors.decay[..., :-1, :1], factors.decay[..., :-1, 1:].tril(-1)
    return queries @ initial.mT + gamma_before * (queries @ difference.mT) + (Lambda * (queries @ keys.mT)) @ E
