"""The logits on CPU cores: blocks of samples pass through all layers while they are in cache, and no thread waits for another.

Activations are held transposed, as in `mlp_step`. A sample's logits do not depend on how many others, or seeds, there are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nlbench.kernels.mlp_step._numba import BLOCK, add_bias, addresses, rectify
from nlbench.kernels.programs import Program, array, empty, tensor
from nlbench.kernels.tiles import gemm, matrix_at, transpose


@Program
def part(index, blocks, widths, weights, biases, distances, inputs, out):  # type: ignore[no-untyped-def]
    """One block of one seed's samples; distances (2, layers) are from row to row of weights and of biases."""
    p, low = index // blocks, index % blocks * BLOCK
    shown = inputs[p % inputs.shape[0], low : low + BLOCK]
    size = shown.shape[0]
    below = np.empty((widths[0], size), inputs.dtype)
    transpose(shown, below)
    for i in range(widths.shape[0] - 1):
        d_in, d_out = widths[i], widths[i + 1]
        Z = np.empty((d_out, size), inputs.dtype)
        gemm(1.0, matrix_at(weights[i], p, d_out, distances[0, i], inputs)[:, :d_in], below, 0.0, Z)
        add_bias(Z, matrix_at(biases[i], p, d_out, distances[1, i], inputs)[:, 0])
        if i + 2 < widths.shape[0]:
            rectify(Z)
        below = Z
    transpose(below, out[p, low : low + size])


def evenly(parameter: Tensor) -> tuple[Tensor, int]:
    """The parameter (S, d_out, …), and how far it is from row to row and from seed to seed; a copy if rows do not lie evenly."""
    seeds, rows = parameter.shape[:2]
    width = parameter.shape[2] if parameter.ndim == 3 else 1
    distance = parameter.stride(1) if rows > 1 else parameter.stride(0) if seeds > 1 else width
    even = seeds == 1 or rows == 1 or parameter.stride(0) == rows * distance
    if even and distance >= width and (width == 1 or parameter.stride(2) == 1):
        return parameter, distance
    return parameter.clone(memory_format=torch.contiguous_format), width


def logits(weights: Sequence[Tensor], biases: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """(S, N, n_classes); arguments as in `mlp_logits`."""
    X = array(inputs)
    seeds, count = len(weights[0]), X.shape[1]
    widths = np.array([X.shape[2], *(each.shape[1] for each in weights)], np.int64)
    blocks = -(-count // BLOCK)
    out = empty((seeds, count, int(widths[-1])), X)
    work = seeds * count * int((widths[:-1] * widths[1:]).sum())
    rows = [[evenly(each) for each in kind] for kind in (weights, biases)]
    distances = np.array([[distance for _, distance in kind] for kind in rows], np.int64)
    places = (addresses([parameter for parameter, _ in kind]) for kind in rows)
    part(seeds * blocks, blocks, widths, *places, distances, X, out, work=work)
    return tensor(out, *out.shape)
