"""Protected steps on a GPU: torch's products, and the bound on a step in two small kernels in place of nine.

Recursive least squares has nothing that a kernel of its own would gain: its products and factorisations are torch's.
"""

from __future__ import annotations

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from nlbench.kernels.gpu_tiles import empty, padded
from nlbench.kernels.metric_update.reference import bounded as bounded_by_torch
from nlbench.kernels.metric_update.reference import update as update

SLICE: Final = 128
"""Columns whose share of Δ Δᵀ or K Kᵀ one program sums up, and columns of Δ that one program scales."""


@triton.jit
def overlap(rows, partial, seed, slice, slices, first, B, width, apart, BB: tl.constexpr, BM: tl.constexpr, SLICE: tl.constexpr):
    """One slice's share of the products of BM rows of a (B, width) matrix with all rows, where there is such a slice; matrices
    lie `apart` numbers from each other.
    """
    if slice < slices:
        matrix = seed * apart
        row, other = first + tl.arange(0, BM), tl.arange(0, BB)
        total = tl.zeros((BM, BB), tl.float32)
        for start in tl.static_range(0, SLICE, 64):
            k = slice * SLICE + start + tl.arange(0, 64)
            inside = (k < width)[None, :]
            a = tl.load(rows + matrix + row[:, None] * width + k[None, :], mask=(row < B)[:, None] & inside, other=0.0)
            b = tl.load(rows + matrix + other[:, None] * width + k[None, :], mask=(other < B)[:, None] & inside, other=0.0)
            total += tl.dot(a.to(tl.float32), tl.trans(b.to(tl.float32)), input_precision="tf32x3")
        tl.store(partial + (seed * slices + slice) * BB * BB + row[:, None] * BB + other[None, :], total)


@triton.jit(do_not_specialize=("B", "width", "slices", "apart", "direction_width", "direction_slices", "direction_apart"))
def overlaps(
    surprises,
    directions,
    partial,
    direction_partial,
    B,
    width,
    slices,
    apart,
    direction_width,
    direction_slices,
    direction_apart,
    BB: tl.constexpr,
    BM: tl.constexpr,
    SLICE: tl.constexpr,
):
    """Every slice's share of Δ Δᵀ and of K Kᵀ, BM rows a program."""
    strips: tl.constexpr = BB // BM
    slice, first = tl.program_id(0) // strips, tl.program_id(0) % strips * BM
    seed = tl.program_id(1).to(tl.int64)
    if tl.program_id(2) == 0:
        overlap(surprises, partial, seed, slice, slices, first, B, width, apart, BB, BM, SLICE)
    else:
        size = direction_width
        overlap(directions, direction_partial, seed, slice, direction_slices, first, B, size, direction_apart, BB, BM, SLICE)


@triton.jit
def summed(partial, first, slices, BB: tl.constexpr):
    """The matrix (BB, BB) that slices make together."""
    row = tl.arange(0, BB)
    total = tl.zeros((BB, BB), tl.float32)
    for i in range(slices):
        total += tl.load(partial + (first + i) * BB * BB + row[:, None] * BB + row[None, :])
    return total


@triton.jit(do_not_specialize=("B", "width", "slices", "apart", "direction_slices"))
def shorten(
    surprises,
    shorter,
    partial,
    direction_partial,
    bound,
    B,
    width,
    slices,
    apart,
    direction_slices,
    BB: tl.constexpr,
    SLICE: tl.constexpr,
):
    """SLICE columns of the surprises Δ (B, width), less where the step's norm, of Σ (Δ Δᵀ) (K Kᵀ), exceeds bound."""
    seed = (tl.program_id(0) // slices).to(tl.int64)
    pairs = summed(partial, seed * slices, slices, BB) * summed(direction_partial, seed * direction_slices, direction_slices, BB)
    squared = tl.sum(tl.sum(pairs, 1), 0)
    factor = tl.minimum(bound / tl.sqrt(tl.maximum(squared, 1e-37)), 1.0)
    row = tl.arange(0, BB)
    k = tl.program_id(0) % slices * SLICE + tl.arange(0, SLICE)
    inside = (row < B)[:, None] & (k < width)[None, :]
    place = row[:, None] * width + k[None, :]
    given = tl.load(surprises + seed * apart + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(shorter + seed * B * width + place, factor * given, mask=inside)


@triton.jit(do_not_specialize=("B", "apart"))
def surprised(readings, labels, classes, losses, errors, surprise, B, apart, C: tl.constexpr, BC: tl.constexpr, BM: tl.constexpr):
    """BM tokens' softmax cross-entropy over the competing classes, and its gradient divided by the batch, times their rates."""
    blocks = tl.cdiv(B, BM)
    seed = (tl.program_id(0) // blocks).to(tl.int64)
    row, column = tl.program_id(0) % blocks * BM + tl.arange(0, BM), tl.arange(0, BC)
    inside = (row < B)[:, None] & (column < C)[None, :]
    competes = (tl.load(classes + column, mask=column < C, other=0) != 0)[None, :]
    chosen = column[None, :] == tl.load(labels + seed * B + row, mask=row < B, other=0)[:, None]
    read = tl.load(readings + seed * apart + row[:, None] * C + column[None, :], mask=inside, other=0.0).to(tl.float32)
    read = tl.where(competes, read, float("-inf"))
    read -= tl.max(read, 1)[:, None]
    share = tl.exp(read)
    total = tl.sum(share, 1)
    share /= total[:, None]
    tl.store(losses + seed * B + row, tl.log(total) - tl.sum(tl.where(chosen, read, 0.0), 1), mask=row < B)
    right = tl.sum(tl.where(chosen, share, 0.0), 1)
    wrong = tl.max(tl.where(competes & (chosen == 0), share, float("-inf")), 1)
    rate = 1.0 + surprise * tl.minimum(tl.maximum(1.0 - right + wrong, 0.0), 1.0)
    error = (share - tl.where(chosen, 1.0, 0.0)) * (rate / B)[:, None]
    tl.store(errors + seed * B * C + row[:, None] * C + column[None, :], error, mask=inside)


def directed_step(
    weights: Tensor,
    gram: Tensor,
    keys: Tensor,
    directions: Tensor,
    surprises: Tensor,
    rate: float,
    bound: float,
    share: float,
    retain: float,
) -> None:
    """The step along directions K P and the metric's new keys, in place; arguments as in `directed_step` of the op."""
    weights.baddbmm_(bounded(surprises, directions, bound).mT, directions, alpha=-rate)
    if share or retain != 1:
        gram.baddbmm_(keys.mT, keys, alpha=share, beta=retain)


def token_errors(readings: Tensor, labels: Tensor, classes: Tensor, surprise: float) -> tuple[Tensor, Tensor]:
    """The loss and every token's errors at its own rate; arguments as in `token_errors` of the op."""
    (seeds, batch, width), readings = readings.shape, _of_whole_rows(readings)
    losses, errors = empty((seeds, batch), readings, torch.float32), empty(readings.shape, readings)
    surprised[(seeds * triton.cdiv(batch, 16),)](
        readings, labels.contiguous(), classes.contiguous(), losses, errors, surprise, batch, readings.stride(0),
        C=width, BC=padded(width), BM=16, num_warps=1,
    )  # fmt: skip
    return losses.mean(1).to(readings.dtype), errors


def bounded(surprises: Tensor, directions: Tensor, bound: float) -> Tensor:
    """The surprises Δ (S, B, V), made smaller where the step Δᵀ K along directions K (S, B, D) would exceed `bound`."""
    seeds, batch, width = surprises.shape
    if bound == float("inf"):
        return surprises
    if batch > 128:
        return bounded_by_torch(surprises, directions, bound)
    surprises, directions, height = _of_whole_rows(surprises), _of_whole_rows(directions), padded(batch)
    widths = width, directions.shape[2]
    slices, direction_slices = (triton.cdiv(each, SLICE) for each in widths)
    partial, direction_partial = (empty((seeds, n, height, height), surprises, torch.float32) for n in (slices, direction_slices))
    sizes = batch, width, slices, surprises.stride(0), widths[1], direction_slices, directions.stride(0)
    overlaps[(max(slices, direction_slices) * (height // 16), seeds, 2)](
        surprises, directions, partial, direction_partial, *sizes, BB=height, BM=16, SLICE=SLICE, num_warps=4
    )
    shorter = empty(surprises.shape, surprises)
    shorten[(seeds * slices,)](
        surprises, shorter, partial, direction_partial, bound, batch, width, slices, surprises.stride(0), direction_slices,
        BB=height, SLICE=SLICE, num_warps=4 if batch <= 64 else 8,
    )  # fmt: skip
    return shorter


def _of_whole_rows(matrices: Tensor) -> Tensor:
    """The same matrices, copied unless the numbers of each follow one another."""
    return matrices if matrices[0].is_contiguous() else matrices.contiguous()
