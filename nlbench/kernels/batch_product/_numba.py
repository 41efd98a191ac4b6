"""The product on CPU cores: shares of one seed's columns, so that few seeds keep all cores busy.

Shares depend on the shape alone: a seed's numbers do not depend on how many others there are.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from torch import Tensor

from nlbench.kernels.programs import Program, array, empty, tensor
from nlbench.kernels.tiles import gemm, transpose

COLUMNS: Final = 400
"""Columns of a share, at most."""


@Program
def share(index, shares, upright, batch, matrix, out):  # type: ignore[no-untyped-def]
    """One share of one seed's columns; `matrix` is (S, D, V) if `upright`, else (S, V, D)."""
    p, part = index // shares, index % shares
    rows, depth = batch.shape[1:]
    low, high = part * out.shape[2] // shares, (part + 1) * out.shape[2] // shares
    right, found = np.empty((depth, rows), batch.dtype), np.empty((high - low, rows), batch.dtype)
    transpose(batch[p], right)
    if upright:
        gemm(1.0, matrix[p, :, low:high].T, right, 0.0, found)
    else:
        gemm(1.0, matrix[p, low:high], right, 0.0, found)
    transpose(found, out[p, :, low:high])


def product(batch: Tensor, matrix: Tensor) -> Tensor:
    """(S, B, V); arguments as in `batch_product`."""
    upright = matrix.is_contiguous()
    X, W = array(batch), array(matrix if upright else matrix.mT)
    out = empty((*X.shape[:2], matrix.shape[2]), X)
    shares = -(-out.shape[2] // COLUMNS)
    share(len(X) * shares, shares, upright, X, W, out, work=X.size * out.shape[2])
    return tensor(out, *out.shape)
