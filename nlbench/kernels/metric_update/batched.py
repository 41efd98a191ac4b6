"""Inverses and solutions of whole metrics, all seeds at once, in products large enough for a GPU.

Torch's own inverse from a Cholesky factor takes one matrix after another; the inverse of a triangle by blocks that double is a
few batched products. Factors and inverses are float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from nlbench.kernels.branches import Branches
from nlbench.kernels.metric_update.reference import RAISES, whole

SMALLEST: Final = 64
"""Triangles between this and twice as large are solved by torch."""


def inverse(gram: Tensor, ridge: float) -> tuple[Tensor, int]:
    """(I + gram / ridge)⁻¹, and the leading minor that is not positive or 0; arguments as in `protecting`."""
    factor, failed = _factors(_shifted(gram, ridge), gram.dtype)
    return _inverted(factor).to(gram.dtype), failed


def inverses(grams: Sequence[Tensor], ridges: Sequence[float]) -> tuple[list[Tensor], Tensor]:
    """`inverse` of each, and the leading minors (n,) that are not positive or 0: where one is not, the diagonal must be raised
    more than once, as `inverse` does. Beside each other on a GPU; nothing is read on the host, so it may be captured.
    """
    branches = Branches(len(grams), grams[0].device)
    found, failed = [], []
    for number, (gram, ridge) in enumerate(zip(grams, ridges, strict=True)):
        with branches.branch(number):
            shifted = _shifted(gram, ridge)
            shifted.diagonal(dim1=1, dim2=2).add_(_rounding(shifted, gram.dtype))
            factor, minors = _factor(shifted)
            found.append(_inverted(factor).to(gram.dtype))
            failed.append(minors.amax())
    branches.join()
    return found, torch.stack(failed)


def solve(gram: Tensor, products: Tensor, ridge: float) -> tuple[Tensor, int]:
    """The memory, and the leading minor that is not positive or 0; arguments as in `least_squares`."""
    shifted = whole(gram.double())
    shifted.diagonal(dim1=1, dim2=2).add_(ridge)
    factor, failed = _factors(shifted, gram.dtype)
    half = lower_inverse(factor)
    return (half.mT @ (half @ products.double())).mT.to(products.dtype).contiguous(), failed


def lower_inverse(factor: Tensor) -> Tensor:
    """L⁻¹ for lower triangles L (S, D, D).

    Of [[X, 0], [B, Y]] it is [[X⁻¹, 0], [-Y⁻¹ B X⁻¹, Y⁻¹]]; all blocks of a size at once, after a unit triangle has been appended
    that makes their number a power of two. Cost: 2 D³ / 3 multiply-adds a seed.
    """
    seeds, width, _ = factor.shape
    count = 1 << max(0, (width // SMALLEST).bit_length() - 1)
    size = -(-width // count)
    padded = torch.eye(size * count, dtype=factor.dtype, device=factor.device).repeat(seeds, 1, 1)
    padded[:, :width, :width] = factor
    blocks = padded.view(seeds, count, size, count, size).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
    identity = torch.eye(size, dtype=factor.dtype, device=factor.device)
    found = torch.linalg.solve_triangular(blocks, identity, upper=False)
    while count > 1:
        pairs = padded.view(seeds, count // 2, 2, size, count // 2, 2, size)[:, :, 1, :, :, 0]
        coupling = pairs.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        first, second = found[:, 0::2], found[:, 1::2]
        below = second @ (coupling @ first)
        count, size = count // 2, 2 * size
        found = found.new_zeros(seeds, count, size, size)
        found[..., : size // 2, : size // 2], found[..., size // 2 :, size // 2 :] = first, second
        found[..., size // 2 :, : size // 2] = below.neg_()
    return found[:, 0, :width, :width]


def _factors(matrices: Tensor, summed_in: torch.dtype) -> tuple[Tensor, int]:
    """The Cholesky factors of float64 matrices (S, D, D), whose diagonals it raises, in place, until there are some; the failed
    minor.
    """
    diagonals, rounding = matrices.diagonal(dim1=1, dim2=2), _rounding(matrices, summed_in)
    raised = torch.ones_like(rounding, dtype=torch.bool)
    for raise_by in RAISES:
        diagonals.add_(raise_by * rounding * raised)
        factors, minors = _factor(matrices)
        raised = (minors > 0)[:, None]
        failed = int(minors[minors.argmax()])
        if not failed:
            break
    return factors, failed


def _factor(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """The Cholesky factors and failed minors; CUDA's says nothing of a NaN."""
    factors, minors = torch.linalg.cholesky_ex(matrices)
    finite = factors.diagonal(dim1=1, dim2=2).isfinite().all(1)
    return factors, torch.where(finite, minors, minors.clamp_min(1))


def _shifted(gram: Tensor, ridge: float) -> Tensor:
    """I + gram / ridge in float64."""
    shifted = whole(gram.double()).div_(ridge)
    shifted.diagonal(dim1=1, dim2=2).add_(1.0)
    return shifted


def _rounding(matrices: Tensor, summed_in: torch.dtype) -> Tensor:
    """What rounding may have taken from the smallest eigenvalue of each matrix, (S, 1)."""
    return torch.finfo(summed_in).eps / 2 * matrices.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)


def _inverted(factor: Tensor) -> Tensor:
    """(L Lᵀ)⁻¹, symmetric to the bit."""
    half = lower_inverse(factor)
    whole = half.mT @ half
    return (whole + whole.mT).div_(2.0)
