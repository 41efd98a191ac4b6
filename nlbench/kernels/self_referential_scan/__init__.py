"""Memories that generate their own keys, values, rates, retentions and targets: the core of self-referential Titans."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

from torch import Tensor

from nlbench.kernels.backends import Backend, Bound, implementation
from nlbench.kernels.memory_scan import Read
from nlbench.kernels.shapes import check_shapes

Objective = Literal["l2", "dot"]


LONGEST_SEGMENT: Final = 64
"""The most tokens between two states of the four outer memories that one program of a GPU solves for."""
WIDEST: Final = 64
"""The widest memories that one program of a GPU holds."""


class Memories(NamedTuple):
    """The five memories of one block. The square ones read `z + W z`, the two gates read `w · z`.

    keys, values, memory (S, H, d, d); rate, retain (S, H, d).
    """

    keys: Tensor
    values: Tensor
    rate: Tensor
    retain: Tensor
    memory: Tensor


def self_referential_scan(
    inputs: Tensor,
    queries: Tensor,
    memories: Memories,
    rate_bias: Tensor,
    retain_bias: Tensor,
    *,
    chunk: int,
    outer_chunk: int,
    rate_max: float,
    outer_rate_max: float | None = None,
    retain_min: float = 0.0,
    objective: Objective = "l2",
    read: Read = "stale",
    normalize_values: bool = True,
    initial: Memories | None = None,
    target_clip: float | None = None,
    truncation: int | None = None,
    backend: Backend | Bound = "auto",
) -> tuple[Memories, Tensor]:
    """The memories after `L ≥ 0` tokens, and the outputs `y_t = q_t + W_mem q_t` (S, H, L, d).

    inputs, queries         (S, H, L, d)  x and q of each token
    memories                the states before the first token
    rate_bias, retain_bias  (S, H)  b_η and b_α

    Per token, with every state read at the start of its chunk: k = unit(x + W_k x), v = x + W_v x (of unit length if
    `normalize_values`), η = rate_max σ(w_η·x + b_η), α = retain_min + (1 - retain_min) σ(w_α·x + b_α). Then each memory
    learns its own answer to v: `M_t = M_{t-1} (α I - η k kᵀ) + η r kᵀ` with r = M_c(v) - M_c(k) ("l2") or r = M_c(v) ("dot"),
    where M_c is its state at the start of the chunk.

    chunk        C_mem ≥ 1, tokens between two states of `memory`
    outer_chunk  C_o, a multiple of C_mem: tokens between two states of the other four; on a GPU the kernel takes up to 64, and
                 memories up to 64 wide; beyond, "auto" is torch
    outer_rate_max  rate_max of the other four, the same if not given
    read         "stale": y from the state at the chunk start; "exact": from the state of the token before
    initial      retention to these states: the recurrence runs on M - initial; None: retention to zero
    target_clip  the longest target M_c(v) of a memory, > 0; None: no clip
    truncation   segments of C_o tokens, ≥ 1, that gradients go back through what was written to M - initial; None: all
                 Both only where all memories have one clock: one chunk and one rate, and stale reads. No kernel of a GPU has them

    Differentiable in every tensor, through all writes unless truncated.

    Source: Nested Learning (arXiv 2512.24695), eq. 83-93; causal chunk index, corrected sign in 92.
    """
    named = {f"memories.{name}": (tensor, "S H D D") for name, tensor in memories._asdict().items()}
    named |= {f"initial.{name}": (tensor, "S H D D") for name, tensor in (initial._asdict() if initial else {}).items()}
    for name, (tensor, _) in named.items():
        if name.endswith((".rate", ".retain")):
            named[name] = (tensor, "S H D")
    check_shapes(
        "self_referential_scan",
        inputs=(inputs, "S H L D"),
        queries=(queries, "S H L D"),
        rate_bias=(rate_bias, "S H"),
        retain_bias=(retain_bias, "S H"),
        **named,
    )
    for name, value, allowed in (("objective", objective, get_args(Objective)), ("read", read, get_args(Read))):
        if value not in allowed:
            raise ValueError(f"self_referential_scan: {name} must be one of {', '.join(allowed)}, got {value!r}")
    if chunk < 1 or outer_chunk % chunk:
        raise ValueError(f"self_referential_scan: outer_chunk must be a multiple of chunk ≥ 1, got {outer_chunk} and {chunk}")
    outer_rate_max = rate_max if outer_rate_max is None else outer_rate_max
    limited = target_clip is not None or truncation is not None
    if limited and (chunk != outer_chunk or rate_max != outer_rate_max or read != "stale"):
        raise ValueError("self_referential_scan: target_clip and truncation need one chunk and one rate for all, and stale reads")
    if (target_clip is not None and target_clip <= 0) or (truncation is not None and truncation < 1):
        raise ValueError(
            f"self_referential_scan: target_clip must be > 0 and truncation ≥ 1 or None, got {target_clip}, {truncation}"
        )
    if not inputs.shape[2]:
        return memories, queries + queries @ memories.memory.mT
    too_long = min(outer_chunk, inputs.shape[2]) > LONGEST_SEGMENT or inputs.shape[3] > WIDEST
    if backend == "auto" and inputs.is_cuda and (limited or too_long):
        backend = "reference"
    scan = implementation(__name__, backend, inputs).scan
    return scan(
        inputs,
        queries,
        memories,
        rate_bias,
        retain_bias,
        chunk,
        outer_chunk,
        rate_max,
        outer_rate_max,
        retain_min,
        objective,
        read,
        normalize_values,
        initial,
        target_clip,
        truncation,
    )
