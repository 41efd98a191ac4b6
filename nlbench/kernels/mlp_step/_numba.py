"""The training step on CPU cores: the batch in blocks of samples, then the update in blocks of rows.

Activations are held transposed, (width, samples): the products then have row-major factors and the softmax runs along whole
registers. Blocks depend on the shape alone, so a seed's numbers do not depend on how many others train beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from torch import Tensor

from nlbench.kernels.elementary import exp
from nlbench.kernels.programs import Program, array, empty, tensor
from nlbench.kernels.tiles import copy, gemm, kernel, matrix_at, row_sums, transpose

SMALL_STEP: Final = 4_000_000
"""Multiply-adds of a step below which one program does it all: a second parallel launch would cost more than it gains."""
BLOCK: Final = 32
WHOLE, SAMPLES, ROWS = 0, 1, 2


@kernel()
def masked_softmax(Z, labels, classes, batch, loss, index):  # type: ignore[no-untyped-def]
    """Z (n_classes, samples) becomes the loss gradient of its logits; loss[index] their summed cross-entropy over `batch`."""
    n_classes, size = Z.shape
    largest, norms, own = np.empty(size, Z.dtype), np.zeros(size, Z.dtype), np.empty(size, Z.dtype)
    for s in range(size):
        largest[s] = own[s] = Z[labels[s], s]
    for c in range(n_classes):
        if classes[c]:
            for s in range(size):
                largest[s] = Z[c, s] if Z[c, s] > largest[s] else largest[s]
    for c in range(n_classes):
        if classes[c]:
            for s in range(size):
                share = exp(Z[c, s] - largest[s])
                Z[c, s] = share
                norms[s] += share
        else:
            for s in range(size):
                Z[c, s] = 0
    total = 0.0
    for s in range(size):
        total += np.log(norms[s]) + largest[s] - own[s]
        norms[s] = 1 / (norms[s] * batch)
    for c in range(n_classes):
        for s in range(size):
            Z[c, s] *= norms[s]
    for s in range(size):
        Z[labels[s], s] -= Z.dtype.type(1) / batch
    loss[index] = total / batch


@kernel()
def add_bias(Z, bias):  # type: ignore[no-untyped-def]
    """Z[d] += bias[d]."""
    for d in range(Z.shape[0]):
        for s in range(Z.shape[1]):
            Z[d, s] += bias[d]


@kernel()
def rectify(Z):  # type: ignore[no-untyped-def]
    """Z = max(Z, 0)."""
    zero = Z.dtype.type(0)
    for d in range(Z.shape[0]):
        for s in range(Z.shape[1]):
            value = Z[d, s]
            Z[d, s] = value if value > zero else zero


@kernel()
def replace_positive(Z, values):  # type: ignore[no-untyped-def]
    """Z = values where Z > 0, else 0."""
    zero = Z.dtype.type(0)
    for d in range(Z.shape[0]):
        for s in range(Z.shape[1]):
            value = values[d, s]  # read in either case: a conditional load would keep the loop scalar
            Z[d, s] = value if Z[d, s] > zero else zero


@kernel()
def samples(p, low, high, widths, weights, biases, inputs, labels, classes, hidden, deltas, loss, index):  # type: ignore[no-untyped-def]
    """Forward and backward of samples low … high: their part of `hidden` and `deltas`, (B, d_out) and (d_out, B) a layer."""
    size, layers, batch = high - low, widths.shape[0] - 1, inputs.shape[1]
    slopes = np.empty((hidden.shape[1] // batch, size), inputs.dtype)
    below = np.empty((widths[0], size), inputs.dtype)
    transpose(inputs[p, low:high], below)
    row = 0
    for i in range(layers):
        d_in, d_out = widths[i], widths[i + 1]
        Z = slopes[row : row + d_out]
        gemm(1.0, matrix_at(weights[i], p, d_out, d_in, inputs), below, 0.0, Z)
        add_bias(Z, matrix_at(biases[i], p, 1, d_out, inputs)[0])
        if i + 1 < layers:
            rectify(Z)
            transpose(Z, hidden[p, row * batch : (row + d_out) * batch].reshape(batch, d_out)[low:high])
        below = Z
        row += d_out
    masked_softmax(below, labels[p, low:high], classes, batch, loss[p], index)
    for i in range(layers - 1, -1, -1):
        d_in, d_out = widths[i], widths[i + 1]
        above, out = slopes[row - d_out : row], deltas[p, (row - d_out) * batch : row * batch].reshape(d_out, batch)
        row -= d_out
        copy(above, out[:, low:high])
        if i > 0:
            Z, back = slopes[row - d_in : row], np.empty((d_in, size), inputs.dtype)
            gemm(1.0, matrix_at(weights[i], p, d_out, d_in, inputs).T, above, 0.0, back)
            replace_positive(Z, back)


@kernel()
def rows(p, part, parts, widths, weights, biases, velocities, inputs, hidden, deltas, rate, momentum):  # type: ignore[no-untyped-def]
    """The update of one of `parts` equal shares of the rows of every layer."""
    batch, layers = inputs.shape[1], widths.shape[0] - 1
    row = 0
    for i in range(layers):
        d_in, d_out = widths[i], widths[i + 1]
        low, high = part * d_out // parts, (part + 1) * d_out // parts
        W, bias = matrix_at(weights[i], p, d_out, d_in, inputs)[low:high], matrix_at(biases[i], p, 1, d_out, inputs)
        delta = deltas[p, row * batch : (row + d_out) * batch].reshape(d_out, batch)[low:high]
        below = hidden[p, (row - d_in) * batch : row * batch].reshape(batch, d_in) if i > 0 else inputs[p]
        row += d_out
        if momentum > 0:
            V = matrix_at(velocities[i], p, d_out, d_in, inputs)[low:high]
            gemm(1.0, delta, below, momentum, V)
            for d in range(high - low):
                for k in range(d_in):
                    W[d, k] -= rate * V[d, k]
        else:
            gemm(-rate, delta, below, 1.0, W)
        sums = np.empty(high - low, inputs.dtype)
        row_sums(delta, sums)
        for d in range(low, high):
            change = sums[d - low]
            if momentum > 0:
                v = matrix_at(velocities[layers + i], p, 1, d_out, inputs)
                v[0, d] = change = momentum * v[0, d] + change
            bias[0, d] -= rate * change


@Program
def part(index, phase, widths, weights, biases, velocities, inputs, labels, classes, hidden, deltas, loss, rate, momentum):  # type: ignore[no-untyped-def]
    """All of one seed's step; or, of a step in two phases, one block of one seed's samples, then one share of its rows."""
    blocks = loss.shape[1]
    p, first, last = index, 0, blocks
    if phase != WHOLE:
        p, first = index // blocks, index % blocks
        last = first + 1
    if phase != ROWS:
        for block in range(first, last):
            low, high = block * BLOCK, min(block * BLOCK + BLOCK, inputs.shape[1])
            samples(p, low, high, widths, weights, biases, inputs, labels, classes, hidden, deltas, loss, block)
    if phase == WHOLE:
        rows(p, 0, 1, widths, weights, biases, velocities, inputs, hidden, deltas, rate, momentum)
    elif phase == ROWS:
        rows(p, first, blocks, widths, weights, biases, velocities, inputs, hidden, deltas, rate, momentum)


def addresses(tensors: Sequence[Tensor]) -> np.ndarray:
    """Where the tensors lie."""
    return np.array([each.data_ptr() for each in tensors], np.int64)


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
    seeds, batch, n_inputs = inputs.shape
    X, Y, competing = array(inputs), array(labels), array(classes)
    sizes = [n_inputs, *(each.shape[1] for each in weights)]
    widths, work = np.array(sizes, np.int64), batch * sum(d_in * d_out for d_in, d_out in pairwise(sizes))
    W, b, V = addresses(weights), addresses(biases), addresses((*weight_velocities, *bias_velocities))
    hidden = empty((seeds, batch * sum(sizes[1:])), X)
    deltas = empty(hidden.shape, X)
    blocks = -(-batch // BLOCK)
    loss = empty((seeds, blocks), X)
    rate, momentum = X.dtype.type(rate), X.dtype.type(momentum)
    phases = (WHOLE,) if work <= SMALL_STEP else (SAMPLES, ROWS)
    for phase in phases:
        count = seeds if phase == WHOLE else seeds * blocks
        part(count, phase, widths, W, b, V, X, Y, competing, hidden, deltas, loss, rate, momentum, work=3 * seeds * work)
    return tensor(loss.sum(1), seeds)
