"""An associative memory that answers every token by ridge regression on all tokens so far, exactly."""

from __future__ import annotations

from typing import Final, NamedTuple

from torch import Tensor

from nlbench.kernels.backends import Backend, Bound, implementation
from nlbench.kernels.shapes import check_shapes

WIDEST: Final = 64
"""The longest keys, targets and chunks that the kernels of a GPU hold; beyond, "auto" is torch there."""


class RidgeScan(NamedTuple):
    """What a scan leaves behind: `gram` and `memory` after the last token, and `outputs` (S, H, L, d_v)."""

    gram: Tensor
    memory: Tensor
    outputs: Tensor


def ridge_scan(
    gram: Tensor,
    memory: Tensor,
    keys: Tensor,
    targets: Tensor,
    rate: Tensor,
    retain: Tensor,
    queries: Tensor,
    ridge: Tensor,
    *,
    chunk: int,
    backend: Backend | Bound = "auto",
) -> RidgeScan:
    """`o_t = B_t (G_t + λ_t I)⁻¹ q_t` after each of `L ≥ 0` tokens, with `G_t = α_t G_{t-1} + η_t k_t k_tᵀ` and
    `B_t = α_t B_{t-1} + η_t v_t k_tᵀ`.

    A token is written before it is read. What is read is the memory of least `Σ η ‖v - W k‖² + λ ‖W‖²` over what is retained.

    gram     (S, H, d_k, d_k)  G before the first token, symmetric and not negative
    memory   (S, H, d_v, d_k)  B before the first token
    keys     (S, H, L, d_k)    k
    targets  (S, H, L, d_v)    v
    rate     (S, H, L)         η ≥ 0
    retain   (S, H, L)         α in (0, 1]; its product over a chunk must be a normal number
    queries  (S, H, L, d_k)    q
    ridge    (S, H)            λ > 0: whole at the start of a chunk, within it retained as G is, λ_t = λ Π α
    chunk    C ≥ 1             the last chunk may be shorter; where α is 1, nothing depends on it

    Differentiable in every tensor. Cost about `4 d_k² + 2 d_k d_v + C (2 d_k + d_v)` multiply-adds a token and head, and for each
    chunk a factorisation of d_k and one of C. In bfloat16 on a GPU tokens are read by steps of conjugate gradients instead, until
    what is left of each q is 2^-12 of it; chunks that 48 steps do not bring there are factorised.

    Source: von Oswald et al. 2025, MesaNet (arXiv 2506.05233), eq. 4 to 6, which solve by conjugate gradients with λ whole at
    every token; Nested Learning (arXiv 2512.24695), the general form of eq. 59 with the gram of the keys as its metric.
    """
    check_shapes(
        "ridge_scan",
        gram=(gram, "S H K K"),
        memory=(memory, "S H V K"),
        keys=(keys, "S H L K"),
        targets=(targets, "S H L V"),
        rate=(rate, "S H L"),
        retain=(retain, "S H L"),
        queries=(queries, "S H L K"),
        ridge=(ridge, "S H"),
    )
    if chunk < 1:
        raise ValueError(f"ridge_scan: chunk must be at least 1, got {chunk}")
    if not keys.shape[2]:
        return RidgeScan(gram, memory, targets)
    if backend == "auto" and keys.is_cuda and max(keys.shape[-1], targets.shape[-1], chunk) > WIDEST:
        backend = "reference"
    scan = implementation(__name__, backend, keys).scan
    return RidgeScan(*scan(gram, memory, keys, targets, rate, retain, queries, ridge, chunk))
