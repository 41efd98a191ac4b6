"""Memories that retain in the metric of past keys: the read-out that ridge regression would find, and protected steps."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from nlbench.kernels.backends import Backend, implementation
from nlbench.kernels.shapes import check_shapes


class MetricUpdate(NamedTuple):
    """The memory and precision after the last token, and what the memory answered before each chunk's write (S, L, V)."""

    memory: Tensor
    precision: Tensor
    outputs: Tensor


def metric_update(
    memory: Tensor, precision: Tensor, keys: Tensor, targets: Tensor, *, chunk: int, backend: Backend = "auto"
) -> MetricUpdate:
    """The memory that solves ridge regression on everything it was ever given, after L more tokens.

    memory     (S, V, D)  reads are `M k`; zero to begin with
    precision  (S, D, D)  P, symmetric: the inverse of λ I + Σ k kᵀ; I / λ to begin with
    keys       (S, L, D); targets (S, L, V)
    chunk      C: tokens per small system; any C gives the same memory, up to rounding

    Per chunk, G = (I + K P Kᵀ)⁻¹, M += (V - K Mᵀ)ᵀ G K P, P -= P Kᵀ G K P. P stays symmetric bit for bit and the C × C system is
    factorised in float64, but over thousands of float32 chunks P still gathers rounding errors: keep the Gram matrix with
    `metric_step` or by hand, and replace P by `protecting` now and then where directions differ by more than 10⁴ in use.
    Differentiable in every tensor. Cost: `1.5 L D²` multiply-adds a seed.

    Source: Nested Learning (arXiv 2512.24695), eq. 59 in the metric λ I + Σ k kᵀ, which makes it recursive least squares.
    """
    check_shapes(
        "metric_update",
        memory=(memory, "S V D"),
        precision=(precision, "S D D"),
        keys=(keys, "S L D"),
        targets=(targets, "S L V"),
    )
    if chunk < 1:
        raise ValueError(f"metric_update: chunk must be at least 1, got {chunk}")
    return MetricUpdate(*implementation(__name__, backend, memory).update(memory, precision, keys, targets, chunk))


def metric_step(
    weights: Tensor,
    gram: Tensor,
    projector: Tensor,
    keys: Tensor,
    surprises: Tensor,
    *,
    rate: float,
    bound: float = float("inf"),
    share: float = 1.0,
    retain: float = 1.0,
    backend: Backend = "auto",
) -> None:
    """Change weights and gram in place: a gradient step along what the projector lets through, and B more keys in the metric.

    weights    (S, V, D)  W -= rate Δᵀ K P, made shorter where the Frobenius norm of Δᵀ K P exceeds `bound`
    gram       (S, D, D)  A = retain A + share Kᵀ K
    projector  (S, D, D)  P, symmetric, from `protecting`
    keys       (S, B, D); surprises (S, B, V): Δ, the loss gradient with respect to W k, already divided by what the loss averages

    Cost: `1.5 B D² + B D V` multiply-adds a seed. Contiguous weights and gram.

    Source: general proximal step of Nested Learning (arXiv 2512.24695), eq. 59, in the metric I + A / λ.
    """
    check_shapes(
        "metric_step",
        weights=(weights, "S V D"),
        gram=(gram, "S D D"),
        projector=(projector, "S D D"),
        keys=(keys, "S B D"),
        surprises=(surprises, "S B V"),
    )
    if not (weights.is_contiguous() and gram.is_contiguous()):
        raise ValueError("metric_step: weights and gram are changed in place and must be contiguous")
    implementation(__name__, backend, weights).step(weights, gram, projector, keys, surprises, rate, bound, share, retain)


def protecting(gram: Tensor, ridge: float, *, backend: Backend = "auto") -> Tensor:
    """P = (I + gram / ridge)⁻¹ (S, D, D), with eigenvalues in (0, 1]: near 1 where no key went, near 0 where many did.

    Factorised by Cholesky in float64. Cost: D³ multiply-adds a seed.
    """
    check_shapes("protecting", gram=(gram, "S D D"))
    return implementation(__name__, backend, gram).inverse(gram, ridge)
