"""A batch times a matrix that is much larger than it: what a memory answers to keys, and what its errors say of them."""

from __future__ import annotations

from torch import Tensor

from nlbench.kernels.backends import Backend, implementation
from nlbench.kernels.shapes import check_shapes


def batch_product(batch: Tensor, matrix: Tensor, *, backend: Backend = "auto") -> Tensor:
    """The products (S, B, V) of batch (S, B, D) and matrix (S, D, V).

    The matrix, or its transpose `matrix.mT`, must be contiguous. It passes through the cache once, as the left factor of the
    transposed product: a general product takes the batch for that. Not differentiable. Cost: B D V multiply-adds a seed.
    """
    check_shapes("batch_product", batch=(batch, "S B D"), matrix=(matrix, "S D V"))
    if not (matrix.is_contiguous() or matrix.mT.is_contiguous()):
        raise ValueError("batch_product: the matrix or its transpose must be contiguous")
    return implementation(__name__, backend, batch).product(batch, matrix)
