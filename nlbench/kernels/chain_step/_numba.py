"""The chain's training step on CPU cores: the batch in blocks of samples, then the gradients in blocks of rows.

Activations are held transposed, (width, samples), as in `mlp_step`. What the second phase needs of every sample lies in two
tables, each layer after the other: `below`, the layer's inputs as (B, d_in), and `above`, its output gradients as (d_out, B).
Blocks depend on the shape alone, so a seed's numbers do not depend on how many others train beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from torch import Tensor

from nlbench.kernels.block_step._numba import GELU, activate, multiply
from nlbench.kernels.chain_step import Chain
from nlbench.kernels.mlp_step._numba import BLOCK, ROWS, SAMPLES, SMALL_STEP, WHOLE, add_bias, addresses, masked_softmax
from nlbench.kernels.programs import Program, array, empty, tensor
from nlbench.kernels.tiles import copy, gemm, kernel, matrix_at, row_sums, transpose

PER_BLOCK: Final = 6
"""Tensors of a block: norm weight and bias, up weight and bias, down weight and bias."""


@kernel(fastmath={"contract"})
def normalise_columns(x, eps, normal, scale):  # type: ignore[no-untyped-def]
    """normal[:, t] = (x[:, t] - mean) scale[t], scale[t] = 1 / √(variance + eps)."""
    width, size = x.shape
    mean, variance = np.zeros(size, x.dtype), np.zeros(size, x.dtype)
    for d in range(width):
        for t in range(size):
            mean[t] += x[d, t]
    for t in range(size):
        mean[t] /= width
    for d in range(width):
        for t in range(size):
            centred = x[d, t] - mean[t]
            normal[d, t] = centred
            variance[t] += centred * centred
    for t in range(size):
        scale[t] = x.dtype.type(1) / np.sqrt(variance[t] / width + eps)
    for d in range(width):
        for t in range(size):
            normal[d, t] *= scale[t]


@kernel(fastmath={"contract"})
def affine(normal, weight, bias, Z):  # type: ignore[no-untyped-def]
    """Z[d] = normal[d] weight[d] + bias[d]."""
    for d in range(Z.shape[0]):
        for t in range(Z.shape[1]):
            Z[d, t] = normal[d, t] * weight[d] + bias[d]


@kernel(fastmath={"contract"})
def add_rows(values, bias, x):  # type: ignore[no-untyped-def]
    """x[d] += values[d] + bias[d]."""
    for d in range(x.shape[0]):
        for t in range(x.shape[1]):
            x[d, t] += values[d, t] + bias[d]


@kernel(fastmath={"contract"})
def norm_back(normal, scale, weight, dZ, dx, sums):  # type: ignore[no-untyped-def]
    """Add to dx what reaches it through the affine layer norm; sums (2, D) become the gradients of weight and bias."""
    width, size = normal.shape
    mean, along = np.zeros(size, normal.dtype), np.zeros(size, normal.dtype)
    for d in range(width):
        for_weight, for_bias = normal.dtype.type(0), normal.dtype.type(0)
        for t in range(size):
            slope = dZ[d, t]
            for_weight += slope * normal[d, t]
            for_bias += slope
            slope *= weight[d]
            mean[t] += slope
            along[t] += slope * normal[d, t]
        sums[0, d] = for_weight
        sums[1, d] = for_bias
    for t in range(size):
        mean[t] /= width
        along[t] /= width
    for d in range(width):
        for t in range(size):
            dx[d, t] += scale[t] * (dZ[d, t] * weight[d] - mean[t] - along[t] * normal[d, t])


@kernel()
def samples(p, low, high, sizes, held, inputs, labels, classes, eps, below, above, norms, loss, index):  # type: ignore[no-untyped-def]
    """Forward and backward of samples low … high; sizes are (d_in, D, H, C, blocks), d_in 0 where there is no embedding; norms
    (blocks, 2, D) are of this batch block.
    """
    n, batch = high - low, inputs.shape[1]
    d_in, D, H, C, blocks = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    kind = inputs.dtype
    first, x = np.empty((d_in, n), kind), np.empty((D, n), kind)
    normal, scale = np.empty((blocks * D, n), kind), np.empty((blocks, n), kind)
    slopes, A, Z, wide = np.empty((blocks * H, n), kind), np.empty((H, n), kind), np.empty((D, n), kind), np.empty((D, n), kind)
    if d_in > 0:
        transpose(inputs[p, low:high], first)
        gemm(1.0, matrix_at(held[0], p, D, d_in, inputs), first, 0.0, x)
        add_bias(x, matrix_at(held[1], p, 1, D, inputs)[0])
    else:
        transpose(inputs[p, low:high], x)
    for b in range(blocks):
        at = 2 + PER_BLOCK * b
        own, place = normal[b * D : b * D + D], b * (D + H) * batch
        normalise_columns(x, eps, own, scale[b])
        affine(own, matrix_at(held[at], p, 1, D, inputs)[0], matrix_at(held[at + 1], p, 1, D, inputs)[0], Z)
        transpose(Z, below[p, place : place + D * batch].reshape(batch, D)[low:high])
        gemm(1.0, matrix_at(held[at + 2], p, H, D, inputs), Z, 0.0, A)
        add_bias(A, matrix_at(held[at + 3], p, 1, H, inputs)[0])
        activate(A, GELU, slopes[b * H : b * H + H])
        transpose(A, below[p, place + D * batch : place + (D + H) * batch].reshape(batch, H)[low:high])
        gemm(1.0, matrix_at(held[at + 4], p, D, H, inputs), A, 0.0, Z)
        add_rows(Z, matrix_at(held[at + 5], p, 1, D, inputs)[0], x)
    at, place = 2 + PER_BLOCK * blocks, blocks * (D + H) * batch
    transpose(x, below[p, place : place + D * batch].reshape(batch, D)[low:high])
    logits = np.empty((C, n), kind)
    readout = matrix_at(held[at], p, C, D, inputs)
    gemm(1.0, readout, x, 0.0, logits)
    add_bias(logits, matrix_at(held[at + 1], p, 1, C, inputs)[0])
    masked_softmax(logits, labels[p, low:high], classes, batch, loss[p], index)
    place = (D + blocks * (D + H)) * batch
    copy(logits, above[p, place : place + C * batch].reshape(C, batch)[:, low:high])
    gemm(1.0, readout.T, logits, 0.0, x)
    for b in range(blocks - 1, -1, -1):
        at, place = 2 + PER_BLOCK * b, (D + b * (D + H)) * batch
        copy(x, above[p, place + H * batch : place + (H + D) * batch].reshape(D, batch)[:, low:high])
        gemm(1.0, matrix_at(held[at + 4], p, D, H, inputs).T, x, 0.0, A)
        multiply(slopes[b * H : b * H + H], A)
        copy(A, above[p, place : place + H * batch].reshape(H, batch)[:, low:high])
        gemm(1.0, matrix_at(held[at + 2], p, H, D, inputs).T, A, 0.0, wide)
        norm_back(normal[b * D : b * D + D], scale[b], matrix_at(held[at], p, 1, D, inputs)[0], wide, x, norms[b])
    copy(x, above[p, : D * batch].reshape(D, batch)[:, low:high])


@kernel()
def grow(p, part, parts, weight, bias, factor, d_out, d_in, values, gradients):  # type: ignore[no-untyped-def]
    """Add factor times its gradient to one share of a layer's rows; values (B, d_in), gradients (d_out, B)."""
    low, high = part * d_out // parts, (part + 1) * d_out // parts
    own, sums = gradients[low:high], np.empty(high - low, values.dtype)
    gemm(factor, own, values, 1.0, matrix_at(weight, p, d_out, d_in, values)[low:high])
    row_sums(own, sums)
    target = matrix_at(bias, p, 1, d_out, values)
    for d in range(high - low):
        target[0, low + d] += factor * sums[d]


@kernel()
def rows(p, part, parts, sizes, grown, factors, inputs, below, above, norms):  # type: ignore[no-untyped-def]
    """The gradients of one of `parts` equal shares of the rows of every layer, and with the first share those of the norms."""
    batch = inputs.shape[1]
    d_in, D, H, C, blocks = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    if d_in > 0:
        grow(p, part, parts, grown[0], grown[1], factors[0], D, d_in, inputs[p], above[p, : D * batch].reshape(D, batch))
    for b in range(blocks):
        at, left, right = 2 + PER_BLOCK * b, b * (D + H) * batch, (D + b * (D + H)) * batch
        Z, A = below[p, left : left + D * batch].reshape(batch, D), below[p, left + D * batch : left + (D + H) * batch]
        dU, dY = above[p, right : right + H * batch].reshape(H, batch), above[p, right + H * batch : right + (H + D) * batch]
        grow(p, part, parts, grown[at + 2], grown[at + 3], factors[b], H, D, Z, dU)
        grow(p, part, parts, grown[at + 4], grown[at + 5], factors[b], D, H, A.reshape(batch, H), dY.reshape(D, batch))
        if part == 0:
            for i in range(2):
                target = matrix_at(grown[at + i], p, 1, D, inputs)
                for d in range(D):
                    total = norms[p, 0, b, i, d]
                    for block in range(1, norms.shape[1]):
                        total += norms[p, block, b, i, d]
                    target[0, d] += factors[b] * total
    at, left, right = 2 + PER_BLOCK * blocks, blocks * (D + H) * batch, (D + blocks * (D + H)) * batch
    values, gradients = below[p, left : left + D * batch].reshape(batch, D), above[p, right : right + C * batch]
    grow(p, part, parts, grown[at], grown[at + 1], factors[blocks - 1], C, D, values, gradients.reshape(C, batch))


@Program
def part(index, phase, sizes, held, grown, factors, inputs, labels, classes, eps, below, above, norms, loss):  # type: ignore[no-untyped-def]
    """All of one seed's step; or, of a step in two phases, one block of one seed's samples, then one share of its rows."""
    parts = loss.shape[1]
    p, first, last = index, 0, parts
    if phase != WHOLE:
        p, first = index // parts, index % parts
        last = first + 1
    if phase != ROWS:
        for block in range(first, last):
            low, high = block * BLOCK, min(block * BLOCK + BLOCK, inputs.shape[1])
            samples(p, low, high, sizes, held, inputs, labels, classes, eps, below, above, norms[p, block], loss, block)
    if phase == WHOLE:
        rows(p, 0, 1, sizes, grown, factors, inputs, below, above, norms)
    elif phase == ROWS:
        rows(p, first, parts, sizes, grown, factors, inputs, below, above, norms)


def step(
    chain: Chain, targets: Chain, factors: Sequence[float], inputs: Tensor, labels: Tensor, classes: Tensor, eps: float
) -> Tensor:
    """The loss of every seed before the step; arguments as in `chain_step`."""
    seeds, batch, width = inputs.shape
    X, Y, competing = array(inputs), array(labels), array(classes)
    D, C, blocks = chain.blocks[0].up_weight.shape[2], chain.readout.bias.shape[1], len(chain.blocks)
    H, d_in = chain.blocks[0].up_bias.shape[1], width if chain.embedding else 0
    sizes = np.array([d_in, D, H, C, blocks], np.int64)
    unused = [] if chain.embedding else list(chain.readout)  # in the two places of an embedding
    held, grown = (addresses([*unused, *each.tensors()]) for each in (chain, targets))
    parts = -(-batch // BLOCK)
    below, above = empty((seeds, batch * (blocks * (D + H) + D)), X), empty((seeds, batch * (D + blocks * (D + H) + C)), X)
    norms, loss = empty((seeds, parts, blocks, 2, D), X), empty((seeds, parts), X)
    shares = np.array(factors, X.dtype)
    work = batch * (d_in * D + 2 * blocks * D * H + D * C)
    for phase in (WHOLE,) if work <= SMALL_STEP else (SAMPLES, ROWS):
        count = seeds if phase == WHOLE else seeds * parts
        part(count, phase, sizes, held, grown, shares, X, Y, competing, X.dtype.type(eps), below, above, norms, loss)
    return tensor(loss.sum(1), seeds)
