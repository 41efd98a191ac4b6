"""The products on CPU cores: shares of one seed's columns, so that few seeds keep all cores busy; steps are torch's.

The matrix passes through the cache once, as the left factor of the transposed product: a general product takes the batch.

Shares depend on the shape alone: a seed's numbers do not depend on how many others there are.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from torch import Tensor

from nlbench.kernels.batch_product import Factor
from nlbench.kernels.batch_product.reference import inner as inner
from nlbench.kernels.batch_product.reference import lay as lay
from nlbench.kernels.batch_product.reference import parts as parts
from nlbench.kernels.batch_product.reference import renew as renew
from nlbench.kernels.batch_product.reference import step as step
from nlbench.kernels.programs import Program, array, empty, tensor
from nlbench.kernels.tiles import gemm, transpose

COLUMNS: Final = 400
"""Columns of a share, at most."""
ROWS: Final = 32
"""Rows of an upright matrix that are multiplied before the next, so that it is read nearly in order."""


@Program
def share(index, shares, upright, batch, matrix, out):  # type: ignore[no-untyped-def]
    """One share of one seed's columns; `matrix` is (S, D, V) if `upright`, else (S, V, D)."""
    p, part = index // shares, index % shares
    rows, depth = batch.shape[1:]
    low, high = part * out.shape[2] // shares, (part + 1) * out.shape[2] // shares
    if upright:
        for top in range(0, depth, ROWS):
            bottom = min(top + ROWS, depth)
            gemm(1.0, batch[p, :, top:bottom], matrix[p, top:bottom, low:high], 0.0 if top == 0 else 1.0, out[p, :, low:high])
    else:
        right, found = np.empty((depth, rows), batch.dtype), np.empty((high - low, rows), batch.dtype)
        transpose(batch[p], right)
        gemm(1.0, matrix[p, low:high], right, 0.0, found)
        transpose(found, out[p, :, low:high])


def load(one: Tensor) -> None:
    """The one program, used; arguments, here and below, as in the package."""
    _product(one, one, upright=False)


def answer(keys: Tensor, factor: Factor) -> Tensor:
    """(S, B, V)."""
    return _product(keys, factor.matrix, upright=False)


def below(errors: Tensor, factor: Factor) -> Tensor:
    """(S, B, D)."""
    return _product(errors, factor.matrix, upright=True)


def _product(batch: Tensor, matrix: Tensor, *, upright: bool) -> Tensor:
    X, W = array(batch), array(matrix)
    out = empty((*X.shape[:2], matrix.shape[2 if upright else 1]), X)
    shares = -(-out.shape[2] // COLUMNS)
    share(len(X) * shares, shares, upright, X, W, out, work=X.size * out.shape[2])
    return tensor(out, *out.shape)
