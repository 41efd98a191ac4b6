"""The training step on a GPU: a launch a layer forward, one for the loss, and two a layer backward, which step as they go.

Cost: the products of the reference; every weight is read twice and written once, every gradient only ever in registers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from nlbench.kernels.gpu_products import matrix_product
from nlbench.kernels.gpu_tiles import empty, padded, product


@triton.jit(do_not_specialize=("batch",))
def cross_entropy(logits, labels, classes, losses, delta, batch, N: tl.constexpr, BN: tl.constexpr):
    """One row's softmax cross-entropy over the competing classes, and its gradient divided by the batch."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BN)
    competes = tl.load(classes + column, mask=column < N, other=0) != 0
    value = tl.load(logits + row * N + column, mask=column < N, other=0.0).to(tl.float32)
    value = tl.where(competes, value, float("-inf"))
    value -= tl.max(value, 0)
    share = tl.exp(value)
    total = tl.sum(share, 0)
    chosen = column == tl.load(labels + row)
    tl.store(losses + row, tl.log(total) - tl.sum(tl.where(chosen, value, 0.0), 0))
    gradient = (share / total - tl.where(chosen, 1.0, 0.0)) / batch
    tl.store(delta + row * N + column, gradient.to(delta.dtype.element_ty), mask=column < N)


@triton.jit(do_not_specialize=("batch",))
def descend(
    delta,
    values,
    weight,
    bias,
    weight_velocity,
    bias_velocity,
    rate,
    momentum,
    batch,
    D: tl.constexpr,
    H: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    MOMENTUM: tl.constexpr,
    LOW: tl.constexpr,
):
    """One tile of a weight (H, D) and its rows' biases: the gradient δᵀ x, with momentum into the velocity, and the step."""
    across: tl.constexpr = (D + BN - 1) // BN
    tiles: tl.constexpr = ((H + BM - 1) // BM) * across
    seed = (tl.program_id(0) // tiles).to(tl.int64)
    row = tl.program_id(0) % tiles // across * BM + tl.arange(0, BM)
    column = tl.program_id(0) % across * BN + tl.arange(0, BN)
    delta += seed * batch * H
    values += seed * batch * D
    change = tl.zeros((BM, BN), tl.float32)
    bias_change = tl.zeros((BM,), tl.float32)
    for start in range(0, batch, BK):
        k = start + tl.arange(0, BK)
        d = tl.load(delta + k[:, None] * H + row[None, :], mask=(k < batch)[:, None] & (row < H)[None, :], other=0.0).to(
            tl.float32
        )
        x = tl.load(values + k[:, None] * D + column[None, :], mask=(k < batch)[:, None] & (column < D)[None, :], other=0.0)
        change += product(tl.trans(d), x.to(tl.float32), LOW)
        bias_change += tl.sum(d, 0)
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
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        values.append(matrix_product(values[i], weight, tb=True, bias=bias, relu=i + 1 < len(weights)))
    logits = values.pop()
    seeds, batch, n_classes = logits.shape
    delta, losses = empty(logits.shape, inputs), empty((seeds, batch), inputs, torch.float32)
    cross_entropy[(seeds * batch,)](
        logits, labels.contiguous(), classes.contiguous(), losses, delta, batch, N=n_classes, BN=padded(n_classes), num_warps=1
    )
    for i in reversed(range(len(weights))):
        below = matrix_product(delta, weights[i], gate=values[i]) if i else delta
        velocities = (weight_velocities[i], bias_velocities[i]) if momentum else (weights[i], biases[i])
        width_out, width_in = weights[i].shape[1:]
        tiles = {"BM": min(64, padded(width_out)), "BN": min(64, padded(width_in)), "BK": 32}
        grid = (seeds * triton.cdiv(width_out, tiles["BM"]) * triton.cdiv(width_in, tiles["BN"]),)
        options = {"MOMENTUM": momentum > 0, "LOW": inputs.dtype == torch.bfloat16, "num_warps": 4, "num_stages": 3}
        descend[grid](
            delta,
            values[i],
            weights[i],
            biases[i],
            *velocities,
            rate,
            momentum,
            batch,
            D=width_in,
            H=width_out,
            **tiles,
            **options,
        )
        delta = below
    return losses.mean(1).to(inputs.dtype)
