"""Protected steps on a GPU: torch's products, and the bound on a step in two small kernels in place of nine.

Recursive least squares has nothing that a kernel of its own would gain: its products and factorisations are torch's.
"""

from __future__ import annotations

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from nlbench.kernels.batch_product import worth_parts
from nlbench.kernels.batch_product._triton import accumulate as accumulate_parts
from nlbench.kernels.gpu_tiles import empty, padded
from nlbench.kernels.metric_update.reference import accumulate as accumulate_by_torch
from nlbench.kernels.metric_update.reference import bounded as bounded_by_torch
from nlbench.kernels.metric_update.reference import update as update

SLICE: Final = 128
"""Columns whose share of Δ Δᵀ or K Kᵀ one program sums up, and columns of Δ that one program scales."""


@triton.jit
def overlap(
    rows, partial, seed, slice, slices, first, B, width, line, apart, BB: tl.constexpr, BM: tl.constexpr, SLICE: tl.constexpr
):
    """One slice's share of the products of BM rows of a (B, width) matrix with all rows, where there is such a slice; rows lie
    `line` numbers from each other and matrices `apart`.
    """
    if slice < slices:
        matrix = seed * apart
        row, other = first + tl.arange(0, BM), tl.arange(0, BB)
        total = tl.zeros((BM, BB), tl.float32)
        for start in tl.static_range(0, SLICE, 64):
            k = slice * SLICE + start + tl.arange(0, 64)
            inside = (k < width)[None, :]
            a = tl.load(rows + matrix + row[:, None] * line + k[None, :], mask=(row < B)[:, None] & inside, other=0.0)
            b = tl.load(rows + matrix + other[:, None] * line + k[None, :], mask=(other < B)[:, None] & inside, other=0.0)
            total += tl.dot(a.to(tl.float32), tl.trans(b.to(tl.float32)), input_precision="tf32x3")
        tl.store(partial + (seed * slices + slice) * BB * BB + row[:, None] * BB + other[None, :], total)


@triton.jit(
    do_not_specialize=(
        "B",
        "width",
        "slices",
        "apart",
        "direction_width",
        "direction_slices",
        "direction_line",
        "direction_apart",
    )
)
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
    direction_line,
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
        overlap(surprises, partial, seed, slice, slices, first, B, width, width, apart, BB, BM, SLICE)
    else:
        sizes = direction_width, direction_line, direction_apart
        overlap(directions, direction_partial, seed, slice, direction_slices, first, B, *sizes, BB, BM, SLICE)


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


@triton.jit(do_not_specialize=("B", "apart", "labels_apart"))
def read(
    keys,
    memory,
    labels,
    classes,
    losses,
    errors,
    below,
    surprise,
    B,
    apart,
    labels_apart,
    D: tl.constexpr,
    C: tl.constexpr,
    BC: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
):
    """BM tokens' softmax cross-entropy over the competing classes, its gradient divided by the batch, times the tokens' rates,
    and the product of that with the memory where keys are positive. Seeds' keys lie `apart` numbers apart, labels `labels_apart`.
    """
    blocks = tl.cdiv(B, BM)
    seed = (tl.program_id(0) // blocks).to(tl.int64)
    row, column = tl.program_id(0) % blocks * BM + tl.arange(0, BM), tl.arange(0, BC)
    inside, competes = (row < B)[:, None], (tl.load(classes + column, mask=column < C, other=0) != 0)[None, :]
    chosen = column[None, :] == tl.load(labels + seed * labels_apart + row, mask=row < B, other=0)[:, None]
    memory += seed * C * D
    keys += seed * apart
    answers = tl.zeros((BM, BC), tl.float32)
    for start in range(0, D, BK):
        k = start + tl.arange(0, BK)
        key = tl.load(keys + row[:, None] * D + k[None, :], mask=inside & (k < D)[None, :], other=0.0).to(tl.float32)
        own = tl.load(memory + column[:, None] * D + k[None, :], mask=(column < C)[:, None] & (k < D)[None, :], other=0.0)
        answers += tl.dot(key, tl.trans(own.to(tl.float32)), input_precision="tf32x3")
    answers = tl.where(competes, answers, float("-inf"))
    answers -= tl.max(answers, 1)[:, None]
    share = tl.exp(answers)
    total = tl.sum(share, 1)
    share /= total[:, None]
    tl.store(losses + seed * B + row, tl.log(total) - tl.sum(tl.where(chosen, answers, 0.0), 1), mask=row < B)
    right = tl.sum(tl.where(chosen, share, 0.0), 1)
    wrong = tl.max(tl.where(competes & (chosen == 0), share, float("-inf")), 1)
    rate = 1.0 + surprise * tl.minimum(tl.maximum(1.0 - right + wrong, 0.0), 1.0)
    error = (share - tl.where(chosen, 1.0, 0.0)) * (rate / B)[:, None]
    place = seed * B * C + row[:, None] * C + column[None, :]
    tl.store(errors + place, error, mask=inside & (column < C)[None, :])
    for start in range(0, D - 1, BK):
        k = start + tl.arange(0, BK)
        valid = inside & (k < D - 1)[None, :]
        key = tl.load(keys + row[:, None] * D + k[None, :], mask=valid, other=0.0).to(tl.float32)
        own = tl.load(memory + column[:, None] * D + k[None, :], mask=(column < C)[:, None] & (k < D - 1)[None, :], other=0.0)
        change = tl.where(key > 0, tl.dot(error, own.to(tl.float32), input_precision="tf32x3"), 0.0)
        tl.store(below + seed * B * (D - 1) + row[:, None] * (D - 1) + k[None, :], change, mask=valid)


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
    """The step of `metric_step` along its directions K P (S, B, D), and the metric's new keys, in place."""
    weights.baddbmm_(bounded(surprises, directions, bound).mT, directions, alpha=-rate)
    if share or retain != 1:
        gram.baddbmm_(keys.mT, keys, alpha=share, beta=retain)


def accumulate(gram: Tensor, keys: Tensor, retain: float) -> None:
    """The metric's new keys, in place; arguments as in `accumulate` of the op."""
    (accumulate_parts if worth_parts(gram) else accumulate_by_torch)(gram, keys, retain)


def read_out(keys: Tensor, memory: Tensor, labels: Tensor, classes: Tensor, surprise: float) -> tuple[Tensor, Tensor, Tensor]:
    """Losses, errors and the errors below; arguments as in `read_out` of the op."""
    (seeds, batch, width), n_classes, keys = keys.shape, memory.shape[1], _of_whole_rows(keys)
    labels = labels if labels.stride(1) == 1 else labels.contiguous()
    losses, errors = empty((seeds, batch), keys, torch.float32), empty((seeds, batch, n_classes), keys)
    below = empty((seeds, batch, width - 1), keys)
    read[(seeds * triton.cdiv(batch, 16),)](
        keys, memory.contiguous(), labels, classes.contiguous(), losses, errors, below, surprise, batch, keys.stride(0),
        labels.stride(0), D=width, C=n_classes, BC=padded(n_classes), BM=16, BK=64, num_warps=4,
    )  # fmt: skip
    return losses.to(keys.dtype), errors, below


def bounded(surprises: Tensor, directions: Tensor, bound: float) -> Tensor:
    """The surprises Δ (S, B, V), made smaller where the step Δᵀ K along directions K (S, B, D) would exceed `bound`."""
    seeds, batch, width = surprises.shape
    if bound == float("inf"):
        return surprises
    if batch > 128:
        return bounded_by_torch(surprises, directions, bound)
    surprises, height = _of_whole_rows(surprises), padded(batch)
    directions = directions if directions.stride(2) == 1 else directions.contiguous()
    widths = width, directions.shape[2]
    slices, direction_slices = (triton.cdiv(each, SLICE) for each in widths)
    partial, direction_partial = (empty((seeds, n, height, height), surprises, torch.float32) for n in (slices, direction_slices))
    sizes = batch, width, slices, surprises.stride(0), widths[1], direction_slices, *directions.stride()[1::-1]
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
