"""The training step on CPU cores: the batch in blocks of samples, then the update in blocks of rows.

Activations are held transposed, (width, samples): the products then have row-major factors and the softmax runs along whole
registers. Blocks depend on the shape alone, so a seed's numbers do not depend on how many others train beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from torch import Tensor

from nlbench.kernels.elementary import exp
from nlbench.kernels.programs import Program, array, empty, tensor
from nlbench.kernels.threads import program_threads
from nlbench.kernels.tiles import copy, gemm, kernel, matrix_at, row_sums, transpose

SMALL_STEP: Final = 4_000_000
"""Multiply-adds of a step below which one program does it all: a second parallel launch would cost more than it gains."""
BLOCK: Final = 32
SEEDS_A_THREAD: Final = 3
"""From so many on, no thread waits long for the last seed."""
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
def gather(data, rows, low, high, X):  # type: ignore[no-untyped-def]
    """X[low:high] becomes the rows of data that are named."""
    for b in range(low, high):
        row = data[rows[b]]
        for d in range(X.shape[1]):
            X[b, d] = row[d]


@kernel()
def samples(p, low, high, widths, weights, biases, X, labels, classes, hidden, deltas, loss, index):  # type: ignore[no-untyped-def]
    """Forward and backward of samples low … high of X (B, d_in), seed p: their part of `hidden` and `deltas`, (B, d_out) and
    (d_out, B) a layer.
    """
    size, layers, batch = high - low, widths.shape[0] - 1, X.shape[0]
    slopes = np.empty((hidden.shape[0] // batch, size), X.dtype)
    below = np.empty((widths[0], size), X.dtype)
    transpose(X[low:high], below)
    row = 0
    for i in range(layers):
        d_in, d_out = widths[i], widths[i + 1]
        Z = slopes[row : row + d_out]
        gemm(1.0, matrix_at(weights[i], p, d_out, d_in, X), below, 0.0, Z)
        add_bias(Z, matrix_at(biases[i], p, 1, d_out, X)[0])
        if i + 1 < layers:
            rectify(Z)
            transpose(Z, hidden[row * batch : (row + d_out) * batch].reshape(batch, d_out)[low:high])
        below = Z
        row += d_out
    masked_softmax(below, labels[low:high], classes, batch, loss, index)
    for i in range(layers - 1, -1, -1):
        d_in, d_out = widths[i], widths[i + 1]
        above, out = slopes[row - d_out : row], deltas[(row - d_out) * batch : row * batch].reshape(d_out, batch)
        row -= d_out
        copy(above, out[:, low:high])
        if i > 0:
            Z, back = slopes[row - d_in : row], np.empty((d_in, size), X.dtype)
            gemm(1.0, matrix_at(weights[i], p, d_out, d_in, X).T, above, 0.0, back)
            replace_positive(Z, back)


@kernel()
def descend(p, part, parts, widths, weights, biases, velocities, X, hidden, deltas, rate, momentum):  # type: ignore[no-untyped-def]
    """The update of one of `parts` equal shares of the rows of every layer."""
    batch, layers = X.shape[0], widths.shape[0] - 1
    row = 0
    for i in range(layers):
        d_in, d_out = widths[i], widths[i + 1]
        low, high = part * d_out // parts, (part + 1) * d_out // parts
        W, bias = matrix_at(weights[i], p, d_out, d_in, X)[low:high], matrix_at(biases[i], p, 1, d_out, X)
        delta = deltas[row * batch : (row + d_out) * batch].reshape(d_out, batch)[low:high]
        below = hidden[(row - d_in) * batch : row * batch].reshape(batch, d_in) if i > 0 else X
        row += d_out
        if momentum > 0:
            V = matrix_at(velocities[i], p, d_out, d_in, X)[low:high]
            gemm(1.0, delta, below, momentum, V)
            for d in range(high - low):
                for k in range(d_in):
                    W[d, k] -= rate * V[d, k]
        else:
            gemm(-rate, delta, below, 1.0, W)
        sums = np.empty(high - low, X.dtype)
        row_sums(delta, sums)
        for d in range(low, high):
            change = sums[d - low]
            if momentum > 0:
                v = matrix_at(velocities[layers + i], p, 1, d_out, X)
                v[0, d] = change = momentum * v[0, d] + change
            bias[0, d] -= rate * change


@kernel()
def add_up(numbers, out, index):  # type: ignore[no-untyped-def]
    """out[index] becomes the sum, one after another: NumPy's `sum` would make Numba import its linear algebra, 0.2 s."""
    out[index] = 0
    for number in numbers:
        out[index] += number


@kernel()
def whole(p, batch, widths, weights, biases, velocities, data, rows, labels, classes, losses, rate, momentum):  # type: ignore[no-untyped-def]
    """All steps of one seed, whose numbers stay in the cache."""
    width = 0
    for each in widths[1:]:
        width += each
    X, hidden, deltas = (
        np.empty((batch, widths[0]), data.dtype),
        np.empty(batch * width, data.dtype),
        np.empty(batch * width, data.dtype),
    )
    loss = np.empty((batch + BLOCK - 1) // BLOCK, data.dtype)
    for step in range(losses.shape[1]):
        first, last = step * batch, min(step * batch + batch, rows.shape[1])
        n = last - first
        x, h, d, y = X[:n], hidden[: n * width], deltas[: n * width], labels[p, first:last]
        gather(data, rows[p, first:last], 0, n, x)
        blocks = (n + BLOCK - 1) // BLOCK
        for block in range(blocks):
            low, high = block * BLOCK, min(block * BLOCK + BLOCK, n)
            samples(p, low, high, widths, weights, biases, x, y, classes, h, d, loss, block)
        add_up(loss[:blocks], losses[p], step)
        descend(p, 0, 1, widths, weights, biases, velocities, x, h, d, rate, momentum)


@Program
def part(
    index,
    phase,
    step,
    batch,
    widths,
    weights,
    biases,
    velocities,
    data,
    rows,
    labels,
    classes,
    losses,
    rate,
    momentum,
    X,
    hidden,
    deltas,
    loss,
):  # type: ignore[no-untyped-def]
    """All steps of one seed; or, of a step in two phases, one block of its samples, then one share of its rows."""
    if phase == WHOLE:
        whole(index, batch, widths, weights, biases, velocities, data, rows, labels, classes, losses, rate, momentum)
        return
    first, last = step * batch, min(step * batch + batch, rows.shape[1])
    n = last - first
    parts, size = (n + BLOCK - 1) // BLOCK, hidden.shape[1] // batch * n
    p, number = index // parts, index % parts
    x, h, d = X[p, :n], hidden[p, :size], deltas[p, :size]
    if phase == SAMPLES:
        low, high = number * BLOCK, min(number * BLOCK + BLOCK, n)
        gather(data, rows[p, first:last], low, high, x)
        samples(p, low, high, widths, weights, biases, x, labels[p, first:last], classes, h, d, loss[p], number)
        return
    if number == 0:
        add_up(loss[p, :parts], losses[p], step)
    descend(p, number, parts, widths, weights, biases, velocities, x, h, d, rate, momentum)


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
    seeds, batch, _ = inputs.shape
    rows = torch.arange(seeds * batch).view(seeds, batch)
    given = inputs.flatten(0, 1), rows, labels, classes, batch
    return steps(weights, biases, *given, rate, momentum, weight_velocities, bias_velocities)[:, 0]


def steps(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    data: Tensor,
    rows: Tensor,
    labels: Tensor,
    classes: Tensor,
    batch: int,
    rate: float,
    momentum: float,
    weight_velocities: Sequence[Tensor],
    bias_velocities: Sequence[Tensor],
) -> Tensor:
    """The loss of every seed before every step, (S, K); arguments as in `mlp_steps`."""
    seeds, samples_each = rows.shape
    batch = min(batch, samples_each)
    sizes = [data.shape[1], *(each.shape[1] for each in weights)]
    widths, products = np.array(sizes, np.int64), sum(d_in * d_out for d_in, d_out in pairwise(sizes))
    W, b, V = addresses(weights), addresses(biases), addresses((*weight_velocities, *bias_velocities))
    X, shown, Y, competing = array(data), array(rows), array(labels), array(classes)
    if Y.size and not (Y.min() >= 0 and Y.max() < sizes[-1]):
        raise ValueError(f"mlp_step: labels must be 0 to {sizes[-1] - 1}, got {Y.min()} to {Y.max()}")
    count = -(-samples_each // batch)
    losses = empty((seeds, count), X)
    given = batch, widths, W, b, V, X, shown, Y, competing, losses, X.dtype.type(rate), X.dtype.type(momentum)
    threads = program_threads()
    if batch * products <= SMALL_STEP or seeds >= SEEDS_A_THREAD * threads or seeds % threads == 0:
        nothing = [empty((0,) * axes, X) for axes in (3, 2, 2, 2)]
        part(seeds, WHOLE, 0, *given, *nothing, work=3 * seeds * samples_each * products)
        return tensor(losses, seeds, count)
    shapes = (batch, sizes[0]), *((batch * sum(sizes[1:]),) for _ in range(2)), (-(-batch // BLOCK),)
    shared = [empty((seeds, *shape), X) for shape in shapes]
    for number in range(count):
        blocks = -(-min(batch, samples_each - number * batch) // BLOCK)
        for phase in (SAMPLES, ROWS):
            part(seeds * blocks, phase, number, *given, *shared)
    return tensor(losses, seeds, count)
