"""The training step on a GPU: torch's product and one launch a hidden layer forward, one launch for the last layer, loss and what
reaches the layer below, and at most two a layer backward, which step as they go.

Torch's products are those of rows with rows, where Triton's take three times as long on an H200. Cost: the products of the
reference; every gradient of a parameter is only ever in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from nlbench.kernels.gpu_products import matrix_product, square_tiles
from nlbench.kernels.gpu_tiles import empty, padded, product

BLOCK: Final = 1024
"""Numbers that one program adds a bias to."""


@triton.jit(do_not_specialize=("size", "per_seed"))
def activate(values, bias, size, per_seed, D: tl.constexpr, BLOCK: tl.constexpr):
    """relu(values + bias), in place."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    bias_place = place // per_seed * D + place % D
    total = tl.load(values + place, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(bias + bias_place, mask=inside, other=0.0).to(tl.float32)
    total = tl.where(total < 0, 0.0, total)  # a NaN stays
    tl.store(values + place, total.to(values.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=("batch",))
def read_out(
    values,
    weight,
    bias,
    labels,
    classes,
    losses,
    delta,
    below,
    batch,
    D: tl.constexpr,
    N: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    BELOW: tl.constexpr,
    LOW: tl.constexpr,
):
    """BM samples' softmax cross-entropy over the competing classes, its gradient δ divided by the batch, and δ W where the values
    are positive.
    """
    blocks = tl.cdiv(batch, BM)
    seed = (tl.program_id(0) // blocks).to(tl.int64)
    row = seed * batch + tl.program_id(0) % blocks * BM + tl.arange(0, BM)
    inside = row < (seed + 1) * batch
    column = tl.arange(0, BN)
    weight += seed * N * D
    logits = tl.zeros((BM, BN), tl.float32)
    for start in range(0, D, BK):
        k = start + tl.arange(0, BK)
        v = tl.load(values + row[:, None] * D + k[None, :], mask=inside[:, None] & (k < D)[None, :], other=0.0)
        w = tl.load(weight + column[:, None] * D + k[None, :], mask=(column < N)[:, None] & (k < D)[None, :], other=0.0)
        logits += product(v.to(tl.float32), tl.trans(w.to(tl.float32)), LOW)
    logits += tl.load(bias + seed * N + column, mask=column < N, other=0.0).to(tl.float32)[None, :]
    competes = tl.load(classes + column, mask=column < N, other=0) != 0
    logits = tl.where(competes[None, :], logits, float("-inf"))
    logits -= tl.max(logits, 1)[:, None]
    share = tl.exp(logits)
    total = tl.sum(share, 1)
    chosen = column[None, :] == tl.load(labels + row, mask=inside, other=0)[:, None]
    tl.store(losses + row, tl.log(total) - tl.sum(tl.where(chosen, logits, 0.0), 1), mask=inside)
    gradient = (share / total[:, None] - tl.where(chosen, 1.0, 0.0)) / batch
    place = row[:, None] * N + column[None, :]
    tl.store(delta + place, gradient.to(delta.dtype.element_ty), mask=inside[:, None] & (column < N)[None, :])
    if BELOW:
        for start in range(0, D, BK):
            k = start + tl.arange(0, BK)
            valid = inside[:, None] & (k < D)[None, :]
            v = tl.load(values + row[:, None] * D + k[None, :], mask=valid, other=0.0).to(tl.float32)
            w = tl.load(weight + column[:, None] * D + k[None, :], mask=(column < N)[:, None] & (k < D)[None, :], other=0.0)
            change = tl.where(v > 0, product(gradient, w.to(tl.float32), LOW), 0.0)
            tl.store(below + row[:, None] * D + k[None, :], change.to(below.dtype.element_ty), mask=valid)


@triton.jit(do_not_specialize=("batch",))
def descend(
    delta,
    values,
    weight,
    bias,
    weight_velocity,
    bias_velocity,
    losses,
    loss,
    rate,
    momentum,
    batch,
    D: tl.constexpr,
    H: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    MOMENTUM: tl.constexpr,
    LAST: tl.constexpr,
    LOW: tl.constexpr,
):
    """One tile of a weight (H, D) and its rows' biases: the gradient δᵀ x, with momentum into the velocity, and the step; at the
    last layer also the mean of a seed's losses.
    """
    across: tl.constexpr = (D + BN - 1) // BN
    tiles: tl.constexpr = ((H + BM - 1) // BM) * across
    seed = (tl.program_id(0) // tiles).to(tl.int64)
    row = tl.program_id(0) % tiles // across * BM + tl.arange(0, BM)
    column = tl.program_id(0) % across * BN + tl.arange(0, BN)
    delta += seed * batch * H
    values += seed * batch * D
    change = tl.zeros((BM, BN), tl.float32)
    bias_change = tl.zeros((BM,), tl.float32)
    total = tl.zeros((BK,), tl.float32)
    for start in range(0, batch, BK):
        k = start + tl.arange(0, BK)
        d = tl.load(delta + k[:, None] * H + row[None, :], mask=(k < batch)[:, None] & (row < H)[None, :], other=0.0).to(
            tl.float32
        )
        x = tl.load(values + k[:, None] * D + column[None, :], mask=(k < batch)[:, None] & (column < D)[None, :], other=0.0)
        change += product(tl.trans(d), x.to(tl.float32), LOW)
        bias_change += tl.sum(d, 0)
        if LAST:
            total += tl.load(losses + seed * batch + k, mask=k < batch, other=0.0)
    place = seed * H * D + row[:, None] * D + column[None, :]
    inside = (row < H)[:, None] & (column < D)[None, :]
    bias_place = seed * H + row
    bias_inside = row < tl.where(tl.program_id(0) % across == 0, H, 0)
    if MOMENTUM:
        change += momentum * tl.load(weight_velocity + place, mask=inside, other=0.0).to(tl.float32)
        tl.store(weight_velocity + place, change.to(weight_velocity.dtype.element_ty), mask=inside)
        bias_change += momentum * tl.load(bias_velocity + bias_place, mask=bias_inside, other=0.0).to(tl.float32)
        tl.store(bias_velocity + bias_place, bias_change.to(bias_velocity.dtype.element_ty), mask=bias_inside)
    stepped = tl.load(weight + place, mask=inside, other=0.0).to(tl.float32) - rate * change
    tl.store(weight + place, stepped.to(weight.dtype.element_ty), mask=inside)
    stepped = tl.load(bias + bias_place, mask=bias_inside, other=0.0).to(tl.float32) - rate * bias_change
    tl.store(bias + bias_place, stepped.to(bias.dtype.element_ty), mask=bias_inside)
    if LAST:
        tl.store(loss + seed, (tl.sum(total, 0) / batch).to(loss.dtype.element_ty), mask=tl.program_id(0) % tiles == 0)


def step(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    inputs: Tensor,
    labels: Tensor,
    classes: Tensor,
    rate: float,
    momentum: float,
    weight_velocities: Sequence[Tensor],
    bias_velocities: Sequence[Tensor],
) -> Tensor:
    """The loss of every seed before the step; arguments as in `mlp_step`."""
    values = [inputs.contiguous()]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        values.append(torch.bmm(values[-1], weight.mT))
        size, (batch, width) = values[-1].numel(), values[-1].shape[1:]
        activate[(triton.cdiv(size, BLOCK),)](values[-1], bias, size, batch * width, D=width, BLOCK=BLOCK)
    losses, delta, below = _read_out(values[-1], weights[-1], biases[-1], labels, classes, len(weights) > 1)
    loss = empty((len(inputs),), inputs)
    for i in reversed(range(len(weights))):
        velocities = (weight_velocities[i], bias_velocities[i]) if momentum else (weights[i], biases[i])
        seeds, height, width = weights[i].shape
        tiles = square_tiles(seeds, height, width)
        grid = (seeds * triton.cdiv(height, tiles["BM"]) * triton.cdiv(width, tiles["BN"]),)
        options = {"MOMENTUM": momentum > 0, "LAST": i + 1 == len(weights), "LOW": inputs.dtype == torch.bfloat16}
        if 0 < i < len(weights) - 1:
            below = matrix_product(delta, weights[i], gate=values[i])
        descend[grid](
            delta, values[i], weights[i], biases[i], *velocities, losses, loss, rate, momentum, inputs.shape[1],
            D=width, H=height, **tiles, BK=32, **options, num_warps=4, num_stages=3,
        )  # fmt: skip
        delta = below
    return loss


def _read_out(
    values: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, classes: Tensor, hidden: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Every sample's loss (S, B), δ of the logits, and of the layer below if there is one."""
    seeds, batch, width = values.shape
    n_classes = weight.shape[1]
    delta, losses = empty((seeds, batch, n_classes), values), empty((seeds, batch), values, torch.float32)
    below = empty(values.shape, values) if hidden else delta
    tiles = {"BM": 16, "BN": padded(n_classes), "BK": min(64, padded(width))}
    read_out[(seeds * triton.cdiv(batch, 16),)](
        values, weight, bias, labels.contiguous(), classes.contiguous(), losses, delta, below, batch,
        D=width, N=n_classes, **tiles, BELOW=hidden, LOW=values.dtype == torch.bfloat16, num_warps=4,
    )  # fmt: skip
    return losses, delta, below
