"""The residual block on CPU cores: one program per seed and part of its rows, in blocks of rows that stay in cache.

Inside, activations are transposed, (width, rows), so that every product has row-major factors. Parts depend on the shape alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.kernels.block_step import BlockWeights
from nlbench.kernels.elementary import exp, upper_tail
from nlbench.kernels.programs import Program, array, empty, tensor
from nlbench.kernels.tiles import copy, fill_zero, gemm, kernel, row_sums, transpose

ACTIVATIONS: Final = {"gelu": 0, "relu": 1, "silu": 2}
GELU, RELU = 0, 1
BLOCK: Final = 32
PART: Final = 128
DENSITY_AT_ZERO: Final = 0.3989422804014327


@kernel(fastmath={"contract"})
def activate(U, activation, slopes):  # type: ignore[no-untyped-def]
    """U becomes act(U), slopes act'(U)."""
    kind = U.dtype.type
    zero, one, half, peak = kind(0), kind(1), kind(0.5), kind(DENSITY_AT_ZERO)
    for h in range(U.shape[0]):
        if activation == GELU:
            for t in range(U.shape[1]):
                u = U[h, t]
                density = exp(-half * u * u)
                tail = upper_tail(abs(u), density)
                below = one - tail if u > zero else tail
                slopes[h, t] = below + u * density * peak
                U[h, t] = u * below
        elif activation == RELU:
            for t in range(U.shape[1]):
                u = U[h, t]
                slopes[h, t] = one if u > zero else zero
                U[h, t] = u if u > zero else zero
        else:
            for t in range(U.shape[1]):
                u = U[h, t]
                share = one / (one + exp(-u))
                slopes[h, t] = share * (one + u * (one - share))
                U[h, t] = u * share


@kernel(fastmath={"reassoc", "contract"})
def normalise(x, eps, normal, scale):  # type: ignore[no-untyped-def]
    """normal[t] = (x[t] - mean) scale[t], scale[t] = 1 / √(variance + eps)."""
    width = x.shape[1]
    for t in range(x.shape[0]):
        mean = x.dtype.type(0)
        for d in range(width):
            mean += x[t, d]
        mean /= width
        variance = x.dtype.type(0)
        for d in range(width):
            variance += (x[t, d] - mean) * (x[t, d] - mean)
        scale[t] = x.dtype.type(1) / np.sqrt(variance / width + eps)
        for d in range(width):
            normal[t, d] = (x[t, d] - mean) * scale[t]


@kernel()
def hidden(x, norm_weight, norm_bias, up_weight, up_bias, activation, eps, normal, scale, Z, ZT, A, slopes):  # type: ignore[no-untyped-def]
    """Of rows x (n, D): their normal form and its scale, Z (n, D) and its transpose, A = act(U) (H, n) and the slopes."""
    normalise(x, eps, normal, scale)
    for t in range(x.shape[0]):
        for d in range(x.shape[1]):
            Z[t, d] = normal[t, d] * norm_weight[d] + norm_bias[d]
    transpose(Z, ZT)
    gemm(1.0, up_weight, ZT, 0.0, A)
    for h in range(A.shape[0]):
        for t in range(A.shape[1]):
            A[h, t] += up_bias[h]
    activate(A, activation, slopes)


@Program
def forward(index, parts, x, norm_weight, norm_bias, up_weight, up_bias, down_weight, down_bias, activation, eps, y):  # type: ignore[no-untyped-def]
    """One part of one seed's rows."""
    p, first = index // parts, index % parts * PART
    rows, width = x.shape[1:]
    size, kind = min(BLOCK, rows), x.dtype
    H = up_weight.shape[1]
    normal, Z, scale = np.empty((size, width), kind), np.empty((size, width), kind), np.empty(size, kind)
    for low in range(first, min(first + PART, rows), BLOCK):
        high = min(low + BLOCK, first + PART, rows)
        n = high - low
        A, slopes, ZT, Y = np.empty((H, n), kind), np.empty((H, n), kind), np.empty((width, n), kind), np.empty((width, n), kind)
        hidden(
            x[p, low:high],
            norm_weight[p],
            norm_bias[p],
            up_weight[p],
            up_bias[p],
            activation,
            eps,
            normal[:n],
            scale[:n],
            Z[:n],
            ZT,
            A,
            slopes,
        )
        gemm(1.0, down_weight[p], A, 0.0, Y)
        transpose(Y, Z[:n])
        for t in range(n):
            for d in range(width):
                y[p, low + t, d] = x[p, low + t, d] + (Z[t, d] + down_bias[p, d])


@kernel(fastmath={"reassoc", "contract"})
def norm_backward(normal, scale, norm_weight, dZ, dx, d_weight, d_bias):  # type: ignore[no-untyped-def]
    """Add to dx, d_weight and d_bias what reaches them through the affine layer norm."""
    width = normal.shape[1]
    for t in range(normal.shape[0]):
        mean, along = normal.dtype.type(0), normal.dtype.type(0)
        for d in range(width):
            slope = dZ[t, d] * norm_weight[d]
            mean += slope
            along += slope * normal[t, d]
        mean /= width
        along /= width
        for d in range(width):
            dx[t, d] += scale[t] * (dZ[t, d] * norm_weight[d] - mean - along * normal[t, d])
        for d in range(width):
            d_weight[d] += dZ[t, d] * normal[t, d]
            d_bias[d] += dZ[t, d]


@kernel()
def multiply(A, out):  # type: ignore[no-untyped-def]
    """out *= A."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            out[i, j] *= A[i, j]


@Program
def backward(  # type: ignore[no-untyped-def]
    index,
    parts,
    x,
    norm_weight,
    norm_bias,
    up_weight,
    up_bias,
    down_weight,
    activation,
    eps,
    dy,
    dx,
    d_norm,
    d_up,
    d_up_bias,
    d_down,
    d_down_bias,
):
    """The gradients of one part of one seed's rows; d_norm (…, 2, D) holds those of norm_weight and norm_bias."""
    p, first = index // parts, index % parts * PART
    rows, width = x.shape[1:]
    size, kind = min(BLOCK, rows), x.dtype
    H = up_weight.shape[1]
    normal, Z, dZ, scale = (
        np.empty((size, width), kind),
        np.empty((size, width), kind),
        np.empty((size, width), kind),
        np.empty(size, kind),
    )
    fill_zero(d_norm[index])
    fill_zero(d_up[index])
    fill_zero(d_down[index])
    for h in range(H):
        d_up_bias[index, h] = 0
    for d in range(width):
        d_down_bias[index, d] = 0
    sums = np.empty(max(H, width), kind)
    for low in range(first, min(first + PART, rows), BLOCK):
        high = min(low + BLOCK, first + PART, rows)
        n = high - low
        A, slopes, ZT, AT = np.empty((H, n), kind), np.empty((H, n), kind), np.empty((width, n), kind), np.empty((n, H), kind)
        dYT, dU = np.empty((width, n), kind), np.empty((H, n), kind)
        hidden(
            x[p, low:high],
            norm_weight[p],
            norm_bias[p],
            up_weight[p],
            up_bias[p],
            activation,
            eps,
            normal[:n],
            scale[:n],
            Z[:n],
            ZT,
            A,
            slopes,
        )
        transpose(dy[p, low:high], dYT)
        transpose(A, AT)
        gemm(1.0, dYT, AT, 1.0, d_down[index])
        row_sums(dYT, sums[:width])
        for d in range(width):
            d_down_bias[index, d] += sums[d]
        gemm(1.0, down_weight[p].T, dYT, 0.0, dU)
        multiply(slopes, dU)
        gemm(1.0, dU, Z[:n], 1.0, d_up[index])
        row_sums(dU, sums[:H])
        for h in range(H):
            d_up_bias[index, h] += sums[h]
        gemm(1.0, up_weight[p].T, dU, 0.0, ZT)
        transpose(ZT, dZ[:n])
        copy(dy[p, low:high], dx[p, low:high])
        norm_backward(normal[:n], scale[:n], norm_weight[p], dZ[:n], dx[p, low:high], d_norm[index, 0], d_norm[index, 1])


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, activation, eps, *weights):  # type: ignore[no-untyped-def]
        arrays = [array(each) for each in (x, *weights)]
        X = arrays[0]
        parts = -(-X.shape[1] // PART)
        y = empty(X.shape, X)
        options = activation, X.dtype.type(eps)
        forward(len(X) * parts, parts, *arrays, *options, y)
        ctx.saved = parts, arrays[:-1], options
        return tensor(y, *x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):  # type: ignore[no-untyped-def]
        parts, arrays, options = ctx.saved
        X, _, _, up_weight, *_ = arrays
        seeds, _, width = X.shape
        H = up_weight.shape[1]
        shapes = (2, width), (H, width), (H,), (width, H), (width,)
        partial = [empty((seeds * parts, *shape), X) for shape in shapes]
        dx = empty(X.shape, X)
        backward(seeds * parts, parts, *arrays, *options, array(dy), dx, *partial)
        norm, *others = [each.reshape(seeds, parts, *each.shape[1:]).sum(1) for each in partial]
        found = [dx, np.ascontiguousarray(norm[:, 0]), np.ascontiguousarray(norm[:, 1]), *others]
        dx, *weights = [tensor(each, *each.shape) for each in found]
        return (dx, None, None, *weights)


def block(x: Tensor, weights: BlockWeights, activation: str, eps: float) -> Tensor:
    """The block's output; arguments as in `block_step`."""
    return _Block.apply(x, ACTIVATIONS[activation], eps, *weights)
