"""The product in torch."""

from __future__ import annotations

from torch import Tensor


def product(batch: Tensor, matrix: Tensor) -> Tensor:
    """(S, B, V); arguments as in `batch_product`."""
    return batch @ matrix
