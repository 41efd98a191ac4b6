"""The metric of past keys: what a memory accumulates of the keys written so far, and how it protects them.

A metric is the Gram matrix A = Σ k kᵀ. Retention in the metric I + A / λ (the general proximal step of Nested Learning, eq. 59)
turns a gradient step into one that moves directions never used at the full rate and well-used ones hardly:
ΔW = -η Δᵀ K (I + A / λ)⁻¹. With a squared loss it can be solved exactly, and the memory no longer depends on the order of the
stream.

Shapes: S seeds, B tokens, D width of a key (the constant 1 included), V width of a value.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.errors import NlbenchError

ROUNDING = 2.0**-24
"""Half the spacing of float32 at 1: storing a Gram matrix can lower its smallest eigenvalue by this share of its trace."""


def with_constant(inputs: Tensor) -> Tensor:
    """Return keys (..., D + 1): the inputs (..., D) and a constant 1, so that a bias is one more weight."""
    return torch.cat([inputs, torch.ones_like(inputs[..., :1])], -1)


def accumulate_(metric: Tensor, keys: Tensor, importance: Tensor | float = 1.0, retain: float = 1.0) -> None:
    """Make metric (S, D, D) retain * metric + Σ importance k kᵀ over keys (S, B, D), in place; importance (S, B, 1)."""
    metric.baddbmm_((importance * keys).mT, keys, beta=retain)


def protecting(metric: Tensor, ridge: float) -> Tensor:
    """Return P = (I + metric / ridge)⁻¹, (S, D, D), eigenvalues in (0, 1]: near 1 where no key went, near 0 where many did.

    Factorised in float64 seed by seed, so that rounding cannot make a well-filled metric indefinite. Cost: D³ multiply-adds a
    seed.
    """
    inverse = torch.empty_like(metric)
    for own, target in zip(metric, inverse, strict=True):
        shifted = own.double().div_(ridge)
        shifted.diagonal().add_(1.0)
        target.copy_(torch.cholesky_inverse(_factor(shifted)))
    return inverse


def bounded(surprises: Tensor, directions: Tensor, bound: float) -> Tensor:
    """Return the surprises Δ (S, B, V), made smaller where the step Δᵀ K would exceed `bound` in the Frobenius norm.

    surprises are gradients with respect to what was read, already divided by what the loss averages over; directions K (S, B, D)
    are the keys, or `keys @ protecting(...)`: projecting the B keys, and not the finished (V, D) gradient, costs B D (D + V)
    multiply-adds. The bound keeps the first steps on keys of a new kind, which the last refresh did not know, from diverging.
    """
    squared = ((surprises @ surprises.mT) * (directions @ directions.mT)).sum((1, 2))
    smaller = (bound * squared.clamp_min(torch.finfo(squared.dtype).tiny).rsqrt()).clamp_max(1.0)
    return surprises * smaller[:, None, None]


def least_squares(metric: Tensor, products: Tensor, ridge: float) -> Tensor:
    """Return the memory (S, V, D) that minimises Σ importance ‖M k - v‖² + ridge ‖M‖²; products (S, D, V) are Σ importance k vᵀ.

    Factorised in float64 seed by seed. Cost: D³ / 3 multiply-adds a seed.
    """
    memory = torch.empty_like(products)
    for own, right, target in zip(metric, products, memory, strict=True):
        shifted = own.double()
        shifted.diagonal().add_(ridge)
        target.copy_(torch.cholesky_solve(right.double(), _factor(shifted)))
    return memory.mT.contiguous()


def _factor(matrix: Tensor) -> Tensor:
    """Return the Cholesky factor of a float64 matrix (D, D) that was summed up in float32.

    Its diagonal is raised, in place, by what rounding may have taken from the smallest eigenvalue in one sum. The errors of
    many sums seldom add up to more; where they do, by ten times that, a hundred times, …
    """
    rounding = ROUNDING * float(matrix.diagonal().sum())
    for raise_by in (1, 9, 90, 900, 9000):
        matrix.diagonal().add_(raise_by * rounding)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if not failed:
            return factor
    raise NlbenchError(
        f"the metric of past keys is not positive definite (leading minor {int(failed)} of {len(matrix)}).",
        "Keys are not finite, or far too long: lower the rate, or normalise the inputs.",
    )
