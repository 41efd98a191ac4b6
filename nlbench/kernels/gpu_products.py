"""Batched matrix products in Triton with what follows them in the same pass: sums, biases, activations, steps of SGD.

Each program makes one tile of one matrix of the batch. Cost: `2 rows columns inner` floating-point operations a matrix; a tile
re-reads its rows and columns, `(1 / BM + 1 / BN)` of those operations in elements.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from nlbench.kernels.gpu_tiles import empty, padded, product

LENGTHS = ("rows", "columns", "inner", "a_rows", "b_rows")
FEW: Final = 200
"""Tiles of a launch below which smaller ones are quicker: some of 132 multiprocessors would have none."""


@triton.jit(do_not_specialize=LENGTHS)
def multiply(
    a,
    b,
    addend,
    bias,
    gate,
    out,
    rows,
    columns,
    inner,
    a_rows,
    b_rows,
    a_width,
    b_width,
    width,
    alpha,
    beta,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    TA: tl.constexpr,
    TB: tl.constexpr,
    ADD: tl.constexpr,
    BIAS: tl.constexpr,
    RELU: tl.constexpr,
    GATE: tl.constexpr,
    LOW: tl.constexpr,
):
    """One tile of alpha A B + beta addend + bias, then ReLU, or zero where gate is not positive; TA, TB: stored transposed."""
    down, across = tl.cdiv(rows, BM), tl.cdiv(columns, BN)
    batch = (tl.program_id(0) // (down * across)).to(tl.int64)
    row = (tl.program_id(0) // across % down) * BM + tl.arange(0, BM)
    column = (tl.program_id(0) % across) * BN + tl.arange(0, BN)
    a += batch * a_rows * a_width
    b += batch * b_rows * b_width
    total = tl.zeros((BM, BN), tl.float32)
    for start in range(0, inner, BK):
        k = start + tl.arange(0, BK)
        if TA:
            left = tl.trans(
                tl.load(a + k[:, None] * a_width + row[None, :], mask=(k < inner)[:, None] & (row < rows)[None, :], other=0.0)
            )
        else:
            left = tl.load(a + row[:, None] * a_width + k[None, :], mask=(row < rows)[:, None] & (k < inner)[None, :], other=0.0)
        if TB:
            right = tl.trans(
                tl.load(
                    b + column[:, None] * b_width + k[None, :], mask=(column < columns)[:, None] & (k < inner)[None, :], other=0.0
                )
            )
        else:
            right = tl.load(
                b + k[:, None] * b_width + column[None, :], mask=(k < inner)[:, None] & (column < columns)[None, :], other=0.0
            )
        total += product(left.to(tl.float32), right.to(tl.float32), LOW)
    total = alpha * total
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    place = batch * rows * width + row[:, None] * width + column[None, :]
    if ADD:
        total += beta * tl.load(addend + place, mask=inside, other=0.0).to(tl.float32)
    if BIAS:
        total += tl.load(bias + batch * columns + column, mask=column < columns, other=0.0).to(tl.float32)[None, :]
    if RELU:
        total = tl.where(total < 0, 0.0, total)  # a NaN stays
    if GATE:
        total = tl.where(tl.load(gate + place, mask=inside, other=0.0).to(tl.float32) > 0, total, 0.0)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=inside)


def square_tiles(count: int, rows: int, columns: int) -> dict[str, int]:
    """BM and BN for `count` results of rows × columns: 64, or 32 where that would leave a GPU idle."""
    side = 64 if count * triton.cdiv(rows, 64) * triton.cdiv(columns, 64) >= FEW else 32
    return {"BM": min(side, padded(rows)), "BN": min(side, padded(columns))}


def matrix_product(
    a: Tensor,
    b: Tensor,
    *,
    ta: bool = False,
    tb: bool = False,
    alpha: float = 1.0,
    beta: float = 0.0,
    addend: Tensor | None = None,
    bias: Tensor | None = None,
    gate: Tensor | None = None,
    relu: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """alpha op(A) op(B) + beta addend + bias for batches of matrices (…, rows, columns), op a transposition where asked.

    bias (…, columns); addend and gate like the result, which may be written over the addend: `out=addend`.
    """
    rows, inner = (a.shape[-1], a.shape[-2]) if ta else a.shape[-2:]
    columns = b.shape[-2] if tb else b.shape[-1]
    if out is None:
        out = empty((*a.shape[:-2], rows, columns), a)
    count = out.numel() // max(1, rows * columns)
    tiles = {**square_tiles(count, rows, columns), "BK": 32 if a.dtype != torch.bfloat16 else 64}
    options: dict[str, Any] = {
        "TA": ta,
        "TB": tb,
        "ADD": addend is not None,
        "BIAS": bias is not None,
        "RELU": relu,
        "GATE": gate is not None,
    }
    grid = (count * triton.cdiv(rows, tiles["BM"]) * triton.cdiv(columns, tiles["BN"]),)
    if not grid[0]:
        return out
    a, b = a.contiguous(), b.contiguous()
    others = (a if each is None else each.contiguous() for each in (addend, bias, gate))
    sizes = rows, columns, inner, *a.shape[-2:-1], *b.shape[-2:-1], a.shape[-1], b.shape[-1], columns
    multiply[grid](
        a, b, *others, out, *sizes, alpha, beta, **tiles, **options, LOW=a.dtype == torch.bfloat16, num_warps=4, num_stages=3
    )
    return out
