"""Inverses and solutions of whole metrics, all seeds at once, in products large enough for a GPU.

Torch's own inverse from a Cholesky factor takes one matrix after another; the inverse of a triangle by blocks that double is a
few batched products. Factors and inverses are float64.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from nlbench.kernels.metric_update.reference import RAISES
from nlbench.kernels.metric_update.reference import accumulate as accumulate

SMALLEST: Final = 64
"""Triangles between this and twice as large are solved by torch."""


def inverse(gram: Tensor, ridge: float) -> tuple[Tensor, int]:
    """(I + gram / ridge)⁻¹, and the leading minor that is not positive or 0; arguments as in `protecting`."""
    shifted = gram.to(torch.float64, copy=True).div_(ridge)
    shifted.diagonal(dim1=1, dim2=2).add_(1.0)
    factor, failed = _factors(shifted, gram.dtype)
    half = lower_inverse(factor)
    found = half.mT @ half
    return (found.add_(found.mT.clone()).div_(2.0)).to(gram.dtype), failed


def solve(gram: Tensor, products: Tensor, ridge: float) -> tuple[Tensor, int]:
    """The memory, and the leading minor that is not positive or 0; arguments as in `least_squares`."""
    shifted = gram.to(torch.float64, copy=True)
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
    diagonals = matrices.diagonal(dim1=1, dim2=2)
    rounding = torch.finfo(summed_in).eps / 2 * diagonals.sum(1, keepdim=True)
    raised = torch.ones_like(rounding, dtype=torch.bool)
    for raise_by in RAISES:
        diagonals.add_(raise_by * rounding * raised)
        factors, minors = torch.linalg.cholesky_ex(matrices)
        raised = (minors > 0)[:, None]
        failed = int(minors[minors.argmax()])
        if not failed:
            break
    return factors, failed
