"""The products on a GPU's tensor cores: every number is the sum of three of bfloat16, a = a₀ + a₁ + a₂, and of the nine products
of parts the six that float32 would keep are one product of bfloat16 with six times as many terms.

Smallest first: tensor cores cut off what they add at 2⁻²⁴ of the sum so far, so the largest products come last (an error of 5e-7
of the result's norm where torch's float32 makes 4e-7; 8e-6 in the opposite order). Numbers below 1e-33 lose parts, infinite ones
become NaN.

Cost: six products in bfloat16, made by torch but for steps, and 16 bytes moved for each number of a batch.
"""

from __future__ import annotations

import sys
from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from nlbench.errors import BackendError
from nlbench.kernels.batch_product import Directions, Factor
from nlbench.kernels.gpu_tiles import INTERPRETED, empty

ROWS: Final = 8
COLUMNS: Final = 128
ALIGNED: Final = 16
"""Widths and heights of parts are padded with zeros to multiples of it, so that whole vectors may be loaded."""
TILE: Final = 64
"""Rows, columns and depth of a tile of `update`."""


@triton.jit
def round_off(rest):
    """Each number's nearest of bfloat16, and what it leaves."""
    part = rest.to(tl.bfloat16)
    return part, rest - part.to(tl.float32)


@triton.jit
def store_parts(parts, numbers, apart, inside, RIGHT: tl.constexpr):
    """The numbers' parts at six places, `apart` from each other, in the order that a left or a right factor has: 0, 1, 2, 0, 1, 0
    or 2, 1, 0, 1, 0, 0.
    """
    largest, rest = round_off(numbers)
    middle, rest = round_off(rest)
    smallest, rest = round_off(rest)
    for i in tl.static_range(6):
        if RIGHT:
            part = smallest if i == 0 else middle if i == 1 or i == 3 else largest
        else:
            part = smallest if i == 2 else middle if i == 1 or i == 4 else largest
        tl.store(parts + i * apart, part, mask=inside)


@triton.jit(do_not_specialize=("rows", "columns", "row_apart", "seed_apart"))
def split(
    matrix,
    over_columns,
    over_rows,
    rows,
    columns,
    row_apart,
    seed_apart,
    height,
    width,
    IN_COLUMNS: tl.constexpr,
    IN_ROWS: tl.constexpr,
    RIGHT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A tile of one seed's matrix, padded with zeros to `height` rows of `width`: its parts beside each other in `over_columns`
    (height, 6 width) and below each other in `over_rows` (6 height, width).
    """
    across, seed = tl.cdiv(width, COLUMNS), tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    place = matrix + seed * seed_apart + row * row_apart + column
    numbers = tl.load(place, mask=(row < rows) & (column < columns), other=0.0)
    first, inside = seed * 6 * height * width, (row < height) & (column < width)
    if IN_COLUMNS:
        store_parts(over_columns + first + row * 6 * width + column, numbers, width, inside, RIGHT)
    if IN_ROWS:
        store_parts(over_rows + first + row * width + column, numbers, height * width, inside, RIGHT)


@triton.jit
def of_parts(left, right, row, column, depth, height, width, TILE: tl.constexpr):
    """Rows and columns of LᵀR, of parts L (depth, height) and R (depth, width) below each other."""
    left, right = left + row[:, None], right + column[None, :]
    total = tl.zeros((TILE, TILE), tl.float32)
    for start in range(0, depth, TILE):
        k = start + tl.arange(0, TILE)
        a = tl.load(left + k[None, :] * height, mask=(k < depth)[None, :] & (row < height)[:, None], other=0.0)
        b = tl.load(right + k[:, None] * width, mask=(k < depth)[:, None] & (column < width)[None, :], other=0.0)
        if INTERPRETED:
            total += tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
        else:
            total = tl.dot(a, b, total)
    return total


@triton.jit(do_not_specialize=("size", "depth"))
def gather(left, right, gram, size, depth, width, retain, TILE: tl.constexpr):
    """A tile on or above the diagonal of one seed's Gram matrix with more keys."""
    across, seed = tl.cdiv(size, TILE), tl.program_id(1).to(tl.int64)
    if tl.program_id(0) % across >= tl.program_id(0) // across:
        row = tl.program_id(0) // across * TILE + tl.arange(0, TILE)
        column = tl.program_id(0) % across * TILE + tl.arange(0, TILE)
        total = of_parts(left + seed * depth * width, right + seed * depth * width, row, column, depth, width, width, TILE)
        inside = (row < size)[:, None] & (column < size)[None, :]
        place = gram + seed * size * size + row[:, None] * size + column[None, :]
        tl.store(place, retain * tl.load(place, mask=inside, other=0.0) + total, mask=inside)


@triton.jit(do_not_specialize=("rows", "columns", "depth"))
def update(
    moves,
    directions,
    matrix,
    over_columns,
    over_rows,
    rows,
    columns,
    depth,
    height,
    width,
    scale,
    IN_ROWS: tl.constexpr,
    TILE: tl.constexpr,
):
    """A tile of one seed's matrix and its parts after a step by parts of moves (depth, height) and directions (depth, width)."""
    across, seed = tl.cdiv(columns, TILE), tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) // across * TILE + tl.arange(0, TILE)
    column = tl.program_id(0) % across * TILE + tl.arange(0, TILE)
    moves, directions = moves + seed * depth * height, directions + seed * depth * width
    total = of_parts(moves, directions, row, column, depth, height, width, TILE)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    place = matrix + seed * rows * columns + row[:, None] * columns + column[None, :]
    changed = tl.load(place, mask=inside, other=0.0) + scale * total
    tl.store(place, changed, mask=inside)
    first, inside = seed * 6 * height * width, (row < height)[:, None] & (column < width)[None, :]  # outside, zeros
    store_parts(over_columns + first + row[:, None] * 6 * width + column[None, :], changed, width, inside, True)
    if IN_ROWS:
        store_parts(over_rows + first + row[:, None] * width + column[None, :], changed, height * width, inside, True)


@triton.jit(do_not_specialize=("some", "others", "depth", "line", "apart", "other_line", "other_apart"))
def products_of_rows(
    rows,
    other_rows,
    out,
    some,
    others,
    depth,
    line,
    apart,
    other_line,
    other_apart,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """A tile of the products of some rows with others."""
    across, seed = tl.cdiv(others, BN), tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) // across * BM + tl.arange(0, BM)
    other = tl.program_id(0) % across * BN + tl.arange(0, BN)
    rows += seed * apart + row[:, None] * line
    other_rows += seed * other_apart + other[:, None] * other_line
    total = tl.zeros((BM, BN), tl.float32)
    for start in range(0, depth, BK):
        k = start + tl.arange(0, BK)
        a = tl.load(rows + k[None, :], mask=(row < some)[:, None] & (k < depth)[None, :], other=0.0)
        b = tl.load(other_rows + k[None, :], mask=(other < others)[:, None] & (k < depth)[None, :], other=0.0)
        total += tl.dot(a, tl.trans(b), input_precision="tf32x3")
    inside = (row < some)[:, None] & (other < others)[None, :]
    tl.store(out + (seed * some + row[:, None]) * others + other[None, :], total, mask=inside)


def aligned(length: int) -> int:
    """The length, padded."""
    return -(-length // ALIGNED) * ALIGNED


def parts(matrix: Tensor, below: bool) -> tuple[Tensor, Tensor | None]:
    """Room for the parts of a matrix: (S, V, 6 D) and, if asked for, (S, 6 V, D), padded.

    Raises `BackendError` unless it is of float32: other numbers have no such parts.
    """
    if matrix.dtype != torch.float32:
        kind = str(matrix.dtype).removeprefix("torch.")
        raise BackendError(
            f"backend 'triton' cannot run batch_product: it splits float32, not {kind}.", "Use --backend reference."
        )
    seeds, height, width = matrix.shape[0], aligned(matrix.shape[1]), aligned(matrix.shape[2])
    over_columns = empty((seeds, height, 6 * width), matrix, torch.bfloat16)
    return over_columns, empty((seeds, 6 * height, width), matrix, torch.bfloat16) if below else None


def load(one: Tensor) -> None:
    """Every kernel, used, for factors of both kinds."""
    for over_rows in (True, False):
        made = Factor(one.clone(), sys.modules[__name__], *parts(one, over_rows))
        made.renew()
        moves = made.inner(one, made.below(made.answer(one)) if over_rows else one)
        made.step(moves, made.lay(one), scale=0.0)
    accumulate(one.clone(), one, retain=1.0)


def renew(factor: Factor) -> None:
    """The parts, filled."""
    matrix = factor.matrix
    _split(matrix, factor.over_columns, factor.over_rows, aligned(matrix.shape[1]), right=True)


def answer(keys: Tensor, factor: Factor) -> Tensor:
    """(S, B, V), the first columns of a wider tensor."""
    return _multiply(keys, _given(factor.over_columns).mT)[..., : factor.matrix.shape[1]]


def below(errors: Tensor, factor: Factor) -> Tensor:
    """(S, B, D), the first columns of a wider tensor."""
    return _multiply(errors, _given(factor.over_rows))[..., : factor.matrix.shape[2]]


def lay(directions: Tensor) -> Directions:
    """The directions and their parts (S, 6 B, D), padded."""
    seeds, tokens, width = directions.shape[0], aligned(directions.shape[1]), aligned(directions.shape[2])
    parts = empty((seeds, 6 * tokens, width), directions, torch.bfloat16)
    _split(directions, None, parts, tokens, right=True)
    return Directions(directions, parts)


def step(factor: Factor, moves: Tensor, directions: Directions, scale: float) -> None:
    """The matrix and its parts, changed."""
    matrix, over_columns, over_rows = factor.matrix, factor.over_columns, factor.over_rows
    seeds, rows, columns = matrix.shape
    tokens, height, width = aligned(moves.shape[1]), aligned(rows), aligned(columns)
    parts = empty((seeds, 6 * tokens, height), matrix, torch.bfloat16)
    _split(moves, None, parts, tokens, right=False)
    if matrix.numel() and tokens:
        update[(triton.cdiv(rows, TILE) * triton.cdiv(columns, TILE), seeds)](
            parts, _given(directions.parts), matrix, over_columns, over_columns if over_rows is None else over_rows, rows,
            columns, 6 * tokens, height, width, scale, IN_ROWS=over_rows is not None, TILE=TILE, num_warps=4, num_stages=4,
        )  # fmt: skip


def accumulate(gram: Tensor, keys: Tensor, retain: float) -> None:
    """The metric's new keys, in place; arguments as in `accumulate` of `metric_update`."""
    seeds, tokens, size = keys.shape[0], aligned(keys.shape[1]), keys.shape[2]
    left, right = (empty((seeds, 6 * tokens, aligned(size)), keys, torch.bfloat16) for _ in range(2))
    _split(keys, None, left, tokens, right=False)
    _split(keys, None, right, tokens, right=True)
    gather[(triton.cdiv(size, TILE) ** 2, seeds)](
        left, right, gram, size, 6 * tokens, aligned(size), retain, TILE=TILE, num_warps=4, num_stages=4
    )


def inner(rows: Tensor, others: Tensor) -> Tensor:
    """(S, N, M)."""
    _check_rows(rows)
    _check_rows(others)
    (seeds, some, depth), number = rows.shape, others.shape[1]
    out = empty((seeds, some, number), rows)
    if out.numel():
        products_of_rows[(triton.cdiv(some, 16) * triton.cdiv(number, 32), seeds)](
            rows, others, out, some, number, depth, *rows.stride()[1::-1], *others.stride()[1::-1], BM=16, BN=32, BK=64,
            num_warps=4, num_stages=3,
        )  # fmt: skip
    return out


def _split(matrix: Tensor, over_columns: Tensor | None, over_rows: Tensor | None, height: int, *, right: bool) -> None:
    """Fill the parts of a matrix (S, R, C) with rows of adjacent numbers, padded to `height` rows."""
    seeds, rows, columns = matrix.shape
    _check_rows(matrix)
    given, width = over_columns if over_columns is not None else over_rows, aligned(columns)
    if given is not None and given.numel():
        split[(triton.cdiv(height, ROWS) * triton.cdiv(width, COLUMNS), seeds)](
            matrix, given, given if over_rows is None else over_rows, rows, columns, matrix.stride(1), matrix.stride(0), height,
            width, IN_COLUMNS=over_columns is not None, IN_ROWS=over_rows is not None, RIGHT=right, ROWS=ROWS, COLUMNS=COLUMNS,
            num_warps=4,
        )  # fmt: skip


def _check_rows(matrix: Tensor) -> None:
    if matrix.stride(2) != 1 and matrix.shape[2] > 1:
        raise ValueError("batch_product: the numbers of a row must be adjacent")


def _given(parts: Tensor | None) -> Tensor:
    if parts is None:
        raise ValueError("batch_product: the factor or the directions were made without the parts that this takes")
    return parts


def _multiply(batch: Tensor, right: Tensor) -> Tensor:
    """The product of a batch and the parts of a right factor, in float32."""
    seeds, tokens, width = batch.shape
    left = empty((seeds, tokens, 6 * aligned(width)), batch, torch.bfloat16)
    _split(batch, left, None, tokens, right=False)
    if left.device.type == "cuda":
        return torch.bmm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()
