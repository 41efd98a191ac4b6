"""Newton-Schulz on CPU cores: one program per matrix."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.kernels.programs import Program, array, empty, tensor
from nlbench.kernels.tiles import copy, gemm, inner_product, kernel, transpose


@kernel()
def polynomial(X, XT, numbers, A, B):  # type: ignore[no-untyped-def]
    """A = X Xᵀ, B = b A + c A², and the transpose of X."""
    transpose(X, XT)
    gemm(1.0, X, XT, 0.0, A)
    copy(A, B)
    gemm(numbers[2], A, A, numbers[1], B)


@Program
def forward(p, matrices, steps, numbers, iterates, out):  # type: ignore[no-untyped-def]
    """One matrix with its shorter side first. numbers: a, b, c, eps; `iterates` keeps every X if it has room."""
    short, long = matrices.shape[1:]
    kind = matrices.dtype
    X, XT, new = np.empty((short, long), kind), np.empty((long, short), kind), np.empty((short, long), kind)
    A, B = np.empty((short, short), kind), np.empty((short, short), kind)
    copy(matrices[p], X)
    length = max(np.sqrt(inner_product(X, X)), numbers[3])
    for i in range(short):
        for j in range(long):
            X[i, j] /= length
    for step in range(steps):
        if iterates.shape[1] > 0:
            copy(X, iterates[p, step])
        polynomial(X, XT, numbers, A, B)
        copy(X, new)
        gemm(1.0, B, X, numbers[0], new)
        X, new = new, X
    copy(X, out[p])


@Program
def backward(p, matrices, steps, numbers, iterates, d_out, d_matrices):  # type: ignore[no-untyped-def]
    """One matrix's gradient. For X' = a X + B X, B = b A + c A², A = X Xᵀ and D = dX':

    dB = D Xᵀ, dA = b dB + c (dB A + A dB), dX = a D + B D + (dA + dAᵀ) X.
    """
    short, long = matrices.shape[1:]
    kind = matrices.dtype
    XT, D, new = np.empty((long, short), kind), np.empty((short, long), kind), np.empty((short, long), kind)
    A, B, dA, dB = (
        np.empty((short, short), kind),
        np.empty((short, short), kind),
        np.empty((short, short), kind),
        np.empty((short, short), kind),
    )
    copy(d_out[p], D)
    for step in range(steps - 1, -1, -1):
        X = iterates[p, step]
        polynomial(X, XT, numbers, A, B)
        gemm(1.0, D, XT, 0.0, dB)
        copy(dB, dA)
        gemm(numbers[2], dB, A, numbers[1], dA)
        gemm(numbers[2], A, dB, 1.0, dA)
        copy(D, new)
        gemm(1.0, B, D, numbers[0], new)
        gemm(1.0, dA, X, 1.0, new)
        gemm(1.0, dA.T, X, 1.0, new)
        D, new = new, D
    length = np.sqrt(inner_product(matrices[p], matrices[p]))
    scale = 1 / max(length, numbers[3])
    along = inner_product(D, matrices[p]) * scale * scale
    if length <= numbers[3]:
        along *= 0
    for i in range(short):
        for j in range(long):
            d_matrices[p, i, j] = scale * (D[i, j] - along * matrices[p, i, j])


class _Orthogonalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrices, steps, coefficients, eps):  # type: ignore[no-untyped-def]
        M = array(matrices).reshape(-1, *matrices.shape[-2:])
        out = empty(M.shape, M)
        iterates = empty((len(M), steps if ctx.needs_input_grad[0] else 0, *M.shape[1:]), M)
        ctx.saved = M, steps, np.array([*coefficients, eps], M.dtype), iterates
        forward(len(M), *ctx.saved, out)
        return tensor(out, *matrices.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):  # type: ignore[no-untyped-def]
        M = ctx.saved[0]
        found = empty(M.shape, M)
        backward(len(M), *ctx.saved, array(d_out).reshape(M.shape), found)
        return tensor(found, *d_out.shape), None, None, None


def orthogonalise(matrices: Tensor, steps: int, coefficients: tuple[float, float, float], eps: float) -> Tensor:
    """U f(Σ) Vᵀ of every matrix; arguments as in `newton_schulz`."""
    if matrices.shape[-2] > matrices.shape[-1]:
        return _Orthogonalise.apply(matrices.mT, steps, coefficients, eps).mT
    return _Orthogonalise.apply(matrices, steps, coefficients, eps)
