"""Gather and apply on CPU cores: all tensors of all levels in one pass over memory, in blocks that fit a cache."""

from __future__ import annotations

from typing import Final

import numpy as np
from torch import Tensor

from nlbench.kernels.programs import Program, array
from nlbench.kernels.tiles import matrix_at

BLOCK: Final = 16384


@Program
def moved(index, tables, first, rates, like):  # type: ignore[no-untyped-def]
    """One block of one tensor. tables (4, tensors): addresses of parameter, gradient and gathered (0: none), and sizes.

    first (tensors + 1) counts the blocks before each tensor; a negative rate says the level is not due.
    """
    which = 0
    while first[which + 1] <= index:
        which += 1
    low = (index - first[which]) * BLOCK
    high = min(low + BLOCK, tables[3, which])
    rate = rates[which]
    parameter = matrix_at(tables[0, which], 0, 1, high, like)[0][low:]
    gradient = matrix_at(tables[1, which], 0, 1, high, like)[0][low:]
    if tables[2, which] == 0:
        for i in range(parameter.shape[0]):
            parameter[i] -= rate * gradient[i]
        return
    gathered = matrix_at(tables[2, which], 0, 1, high, like)[0][low:]
    if rate < 0:
        for i in range(parameter.shape[0]):
            gathered[i] += gradient[i]
        return
    for i in range(parameter.shape[0]):
        parameter[i] -= rate * (gathered[i] + gradient[i])
        gathered[i] = 0


def apply(moves: list[tuple[Tensor, Tensor, Tensor | None, float | None]]) -> None:
    """For every (parameter, gradient, gathered or None, rate or None if not due): gather, and apply if due."""
    gradients = [gradient.contiguous() for _, gradient, _, _ in moves]
    columns = [
        (parameter.data_ptr(), gradient.data_ptr(), 0 if gathered is None else gathered.data_ptr(), gradient.numel())
        for (parameter, _, gathered, _), gradient in zip(moves, gradients, strict=True)
    ]
    tables = np.ascontiguousarray(np.array(columns, np.int64).T)
    first = np.concatenate([[0], np.cumsum(-(-tables[3] // BLOCK))])
    like = array(moves[0][0])
    rates = np.array([-1.0 if rate is None else rate for *_, rate in moves], like.dtype)
    moved(int(first[-1]), tables, first, rates, like.reshape(1, -1))
