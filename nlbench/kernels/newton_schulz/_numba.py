"""Newton-Schulz on CPU cores: one program per matrix. The backward pass differentiates the reference."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.kernels.newton_schulz import reference
from nlbench.kernels.programs import Program, array, empty, tensor
from nlbench.kernels.tiles import copy, gemm, inner_product, transpose


@Program
def orthogonalised(p, matrices, steps, numbers, out):  # type: ignore[no-untyped-def]
    """One matrix; numbers: a, b, c, eps."""
    rows, columns = matrices.shape[1:]
    short, long = min(rows, columns), max(rows, columns)
    kind = matrices.dtype
    X, XT, new = np.empty((short, long), kind), np.empty((long, short), kind), np.empty((short, long), kind)
    A, B = np.empty((short, short), kind), np.empty((short, short), kind)
    if rows > columns:
        transpose(matrices[p], X)
    else:
        copy(matrices[p], X)
    length = max(np.sqrt(inner_product(X, X)), numbers[3])
    for i in range(short):
        for j in range(long):
            X[i, j] /= length
    for _ in range(steps):
        transpose(X, XT)
        gemm(1.0, X, XT, 0.0, A)
        copy(A, B)
        gemm(numbers[2], A, A, numbers[1], B)
        copy(X, new)
        gemm(1.0, B, X, numbers[0], new)
        X, new = new, X
    if rows > columns:
        transpose(X, out[p])
    else:
        copy(X, out[p])


class _Orthogonalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrices, steps, coefficients, eps):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(matrices)
        ctx.options = steps, coefficients, eps
        M = array(matrices).reshape(-1, *matrices.shape[-2:])
        out = empty(M.shape, M)
        orthogonalised(len(M), M, steps, np.array([*coefficients, eps], M.dtype), out)
        return tensor(out, *matrices.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):  # type: ignore[no-untyped-def]
        with torch.enable_grad():
            matrices = ctx.saved_tensors[0].detach().requires_grad_()
            out = reference.orthogonalise(matrices, *ctx.options)
        return torch.autograd.grad(out, matrices, d_out)[0], None, None, None


def orthogonalise(matrices: Tensor, steps: int, coefficients: tuple[float, float, float], eps: float) -> Tensor:
    """U f(Σ) Vᵀ of every matrix; arguments as in `newton_schulz`."""
    return _Orthogonalise.apply(matrices, steps, coefficients, eps)
