"""Linear associative memories that learn token by token: the delta family, chunk by chunk."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

from torch import Tensor

from nlbench.kernels.backends import Backend, Bound, implementation
from nlbench.kernels.shapes import check_shapes

Residual = Literal["given", "minus_prediction", "self_generated"]
Read = Literal["stale", "exact"]

WIDEST: Final = 128
"""The longest keys that the kernels of a GPU hold; beyond, "auto" is torch there."""


class MemoryScan(NamedTuple):
    """What a scan leaves behind: `memory` and `velocity` after the last token, `outputs` (S, H, L, d_v) if queries were given."""

    memory: Tensor
    outputs: Tensor | None
    velocity: Tensor | None


def memory_scan(
    memory: Tensor,
    keys: Tensor,
    targets: Tensor,
    rate: Tensor,
    retain: Tensor,
    *,
    chunk: int,
    residual: Residual = "given",
    values: Tensor | None = None,
    queries: Tensor | None = None,
    read: Read = "stale",
    momentum: Tensor | None = None,
    velocity: Tensor | None = None,
    initial: Tensor | None = None,
    backend: Backend | Bound = "auto",
) -> MemoryScan:
    """The memory after `L ≥ 0` tokens of `M_t = M_{t-1} (α_t I - η_t k_t k_tᵀ) + η_t r_t k_tᵀ`, and what it answered on the way.

    memory    (S, H, d_v, d_k)  M before the first token; reads are `M k`
    keys      (S, H, L, d_k)    k, of length at most 1 where η may reach 1
    targets   (S, H, L, d_v)    the part of r that is known beforehand
    rate      (S, H, L)         η, in [0, 1]
    retain    (S, H, L)         α, in [0, 1]; 1 keeps everything
    chunk     C ≥ 1             M_c is the state before the chunk that holds token t; the last chunk may be shorter
    residual  "given": r = targets (dot objective); "minus_prediction": r = targets - M_c k (L2 objective);
              "self_generated": r = targets + M_c (values - k), the memory makes its own targets
    values    (S, H, L, d_k)    v of "self_generated"
    queries   (S, H, L, d_k)    q; outputs are M_c q ("stale" read) or M_{t-1} q ("exact" read)
    momentum  (S, H, L)         μ, in [0, 1]: S_t = μ_t S_{t-1} + η_t r_t k_tᵀ takes the place of the last term
    velocity  (S, H, d_v, d_k)  S before the first token, zero if not given
    initial   (S, H, d_v, d_k)  retention to this state: the recurrence runs on D = M - initial, reads and r on M

    Differentiable in every tensor. Cost about `8 d_v d_k` multiply-adds a token and head.

    Source: Nested Learning (arXiv 2512.24695), eq. 88, 90, 92, 93, with the corrected sign of 92 and causal chunks in 90.
    """
    check_shapes(
        "memory_scan",
        memory=(memory, "S H V K"),
        keys=(keys, "S H L K"),
        targets=(targets, "S H L V"),
        rate=(rate, "S H L"),
        retain=(retain, "S H L"),
        values=(values, "S H L K"),
        queries=(queries, "S H L K"),
        momentum=(momentum, "S H L"),
        velocity=(velocity, "S H V K"),
        initial=(initial, "S H V K"),
    )
    for name, value, allowed in (("residual", residual, get_args(Residual)), ("read", read, get_args(Read))):
        if value not in allowed:
            raise ValueError(f"memory_scan: {name} must be one of {', '.join(allowed)}, got {value!r}")
    if chunk < 1:
        raise ValueError(f"memory_scan: chunk must be at least 1, got {chunk}")
    if (values is None) == (residual == "self_generated"):
        raise ValueError(f"memory_scan: values belong to residual='self_generated' and only there, got residual={residual!r}")
    if velocity is not None and momentum is None:
        raise ValueError("memory_scan: a velocity without momentum has no meaning")
    if momentum is not None and velocity is None:
        velocity = memory.new_zeros(memory.shape)
    if not keys.shape[2]:
        return MemoryScan(memory, None if queries is None else queries @ memory.mT, velocity)
    if backend == "auto" and memory.is_cuda and keys.shape[-1] > WIDEST:
        backend = "reference"
    scan = implementation(__name__, backend, memory).scan
    probes = None if values is None else values - keys
    if initial is None:
        return MemoryScan(*scan(memory, keys, targets, rate, retain, chunk, residual, probes, queries, read, momentum, velocity))
    # M_c = initial + D_c enters r and the reads linearly: a scan of D with shifted targets and outputs.
    if residual == "minus_prediction":
        targets = targets - keys @ initial.mT
    elif probes is not None:
        targets = targets + probes @ initial.mT
    difference, outputs, velocity = scan(
        memory - initial, keys, targets, rate, retain, chunk, residual, probes, queries, read, momentum, velocity
    )
    if outputs is not None and queries is not None:
        outputs = outputs + queries @ initial.mT
    return MemoryScan(initial + difference, outputs, velocity)
