"""The metric's operations on CPU cores: one program per seed. Symmetric results are computed above the diagonal and mirrored."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.kernels.programs import Program, array, empty, tensor
from nlbench.kernels.tiles import copy, gemm, inner_product, kernel, transpose

PANEL: Final = 64
"""Rows that are computed at once above the diagonal of a symmetric matrix."""


@kernel()
def symmetric_update(alpha, A, beta, C):  # type: ignore[no-untyped-def]
    """C (D, D) = alpha Aᵀ A + beta C for A (n, D), symmetric bit for bit."""
    size = C.shape[0]
    for low in range(0, size, PANEL):
        high = min(low + PANEL, size)
        gemm(alpha, A[:, low:high].T, A[:, low:], beta, C[low:high, low:])
        for i in range(low, high):
            for j in range(low, i):
                C[i, j] = C[j, i]
        if high < size:
            transpose(C[low:high, high:], C[high:, low:high])


@kernel()
def factorise(S):  # type: ignore[no-untyped-def]
    """The lower triangle of S (n, n), float64, becomes its Cholesky factor, row by row. Small n."""
    for i in range(S.shape[0]):
        for j in range(i + 1):
            total = S[i, j]
            for k in range(j):
                total -= S[i, k] * S[j, k]
            S[i, j] = np.sqrt(total) if i == j else total / S[j, j]


@kernel()
def invert_lower(L, out):  # type: ignore[no-untyped-def]
    """out becomes L⁻¹ for lower triangular L (n, n), zero above the diagonal. Small n."""
    for i in range(L.shape[0]):
        for j in range(L.shape[0]):
            out[i, j] = 0
        for k in range(i):
            factor = L[i, k]
            for j in range(k + 1):
                out[i, j] -= factor * out[k, j]
        out[i, i] = 1
        scale = 1 / L[i, i]
        for j in range(i + 1):
            out[i, j] *= scale


@kernel()
def whitening(K, X, R):  # type: ignore[no-untyped-def]
    """R becomes L⁻¹ with L Lᵀ = I + X Kᵀ, for X = K P: the square root of G = Rᵀ R. All in float64."""
    size, width = K.shape
    k, x, S = np.empty((width, size)), np.empty((size, width)), np.empty((size, size))
    for t in range(size):
        for d in range(width):
            k[d, t] = K[t, d]
            x[t, d] = X[t, d]
    gemm(1.0, x, k, 0.0, S)
    for t in range(size):
        S[t, t] += 1
    factorise(S)
    invert_lower(S, R)


@kernel()
def whiten(R, A, wide, out):  # type: ignore[no-untyped-def]
    """out = R A, computed in float64; wide (2 n, columns) is workspace."""
    size = A.shape[0]
    copy(A, wide[:size])
    gemm(1.0, R, wide[:size], 0.0, wide[size : 2 * size])
    copy(wide[size : 2 * size], out)


@Program
def forward(p, memory, precision, keys, targets, chunk, memories, precisions, final, P_end, outputs):  # type: ignore[no-untyped-def]
    """One seed's tokens; `memories` and `precisions` receive the (transposed) states at every chunk start if they have room."""
    tokens, width = keys.shape[1:]
    answers, kind, keep = targets.shape[2], keys.dtype, memories.shape[1] > 0
    MT, P = np.empty((width, answers), kind), P_end[p]
    transpose(memory[p], MT)
    copy(precision[p], P)
    size = min(chunk, tokens)
    X, E, R = np.empty((size, width), kind), np.empty((size, answers), kind), np.empty((size, size))
    wide = np.empty((2 * size, max(width, answers)))
    for index in range((tokens + chunk - 1) // chunk):
        low, high = index * chunk, min(index * chunk + chunk, tokens)
        n = high - low
        if keep:
            copy(MT, memories[p, index])
            copy(P, precisions[p, index])
        K, out, x, e, r = keys[p, low:high], outputs[p, low:high], X[:n], E[:n], R[:n, :n]
        gemm(1.0, K, MT, 0.0, out)
        gemm(1.0, K, P, 0.0, x)
        whitening(K, x, r)
        for t in range(n):
            for v in range(answers):
                e[t, v] = targets[p, low + t, v] - out[t, v]
        whiten(r, e, wide[:, :answers], e)
        whiten(r, x, wide[:, :width], x)
        gemm(1.0, x.T, e, 1.0, MT)
        symmetric_update(-1.0, x, 1.0, P)
    transpose(MT, final[p])


@Program
def backward(p, keys, targets, chunk, memories, precisions, d_outputs, D, DP, dK, dV):  # type: ignore[no-untyped-def]
    """One seed's gradients, last chunk first; D (V, D) and DP enter as those of the end and leave as those of the start.

    With G = (I + X Kᵀ)⁻¹, X = K P, E = V - K Mᵀ: M' = M + Eᵀ G X and P' = P - Xᵀ G X.
    """
    tokens, width = keys.shape[1:]
    answers, kind = targets.shape[2], keys.dtype
    M, PT, DPS = np.empty((answers, width), kind), np.empty((width, width), kind), np.empty((width, width), kind)
    for index in range((tokens + chunk - 1) // chunk - 1, -1, -1):
        low, high = index * chunk, min(index * chunk + chunk, tokens)
        n = high - low
        MT, P, K, dO, dk, dE = (
            memories[p, index],
            precisions[p, index],
            keys[p, low:high],
            d_outputs[p, low:high],
            dK[p, low:high],
            dV[p, low:high],
        )
        X, E, GX, GE = (
            np.empty((n, width), kind),
            np.empty((n, answers), kind),
            np.empty((n, width), kind),
            np.empty((n, answers), kind),
        )
        R, G, wide = np.empty((n, n)), np.empty((n, n)), np.empty((2 * n, max(width, answers)))
        DT, dX, wT = (
            np.empty((width, answers), kind),
            np.empty((n, width), kind),
            np.empty((width, n), kind),
        )
        dG, dS = np.empty((n, n), kind), np.empty((n, n), kind)
        gemm(1.0, K, P, 0.0, X)
        gemm(-1.0, K, MT, 0.0, E)
        for t in range(n):
            for v in range(answers):
                E[t, v] += targets[p, low + t, v]
        whitening(K, X, R)
        gemm(1.0, R.T, R, 0.0, G)
        whiten(G, X, wide[:, :width], GX)
        whiten(G, E, wide[:, :answers], GE)
        transpose(MT, M)
        transpose(D[p], DT)
        transpose(DP[p], PT)
        for i in range(width):
            for j in range(width):
                DPS[i, j] = DP[p, i, j] + PT[i, j]
        gemm(1.0, GX, DT, 0.0, dE)
        gemm(1.0, GE, D[p], 0.0, dX)
        gemm(-1.0, GX, DPS, 1.0, dX)
        # -G dG G, with dG = E dM' Xᵀ - X dP' Xᵀ, symmetric part: half of G (E dM' - X dP') (G X)ᵀ and its transpose.
        Y = np.empty((n, width), kind)
        gemm(1.0, GE, D[p], 0.0, Y)
        gemm(-0.5, GX, DPS, 1.0, Y)
        transpose(GX, wT)
        gemm(-1.0, Y, wT, 0.0, dG)
        for t in range(n):
            for i in range(n):
                dS[t, i] = (dG[t, i] + dG[i, t]) / 2
        gemm(1.0, dS, K, 1.0, dX)
        gemm(1.0, dS, X, 0.0, dk)
        transpose(P, PT)
        gemm(1.0, dX, PT, 1.0, dk)
        gemm(1.0, K.T, dX, 1.0, DP[p])
        for t in range(n):
            for v in range(answers):
                E[t, v] = dO[t, v] - dE[t, v]
        gemm(1.0, E, M, 1.0, dk)
        gemm(1.0, E.T, K, 1.0, D[p])


@Program
def protected_step(p, weights, gram, projector, keys, surprises, numbers):  # type: ignore[no-untyped-def]
    """One seed's step; numbers: rate, bound, share, retain."""
    size, width = keys.shape[1:]
    outputs, kind = surprises.shape[2], keys.dtype
    K, directions = keys[p], np.empty((size, width), kind)
    W, moves = weights[p], np.empty((outputs, width), kind)
    gemm(1.0, K, projector[p], 0.0, directions)
    rate = numbers[0]
    if numbers[1] < np.inf:
        gemm(1.0, surprises[p].T, directions, 0.0, moves)
        length = np.sqrt(inner_product(moves, moves))
        if length > numbers[1]:
            rate *= numbers[1] / length
        for i in range(outputs):
            for j in range(width):
                W[i, j] -= rate * moves[i, j]
    else:
        gemm(-rate, surprises[p].T, directions, 1.0, W)
    symmetric_update(numbers[2], K, numbers[3], gram[p])


@Program
def inverses(p, gram, ridge, out):  # type: ignore[no-untyped-def]
    """One seed's (I + gram / ridge)⁻¹: blocked Cholesky in float64, the inverse R of the factor, then Rᵀ R."""
    size = gram.shape[1]
    L, R, product = np.empty((size, size)), np.zeros((size, size)), np.empty((size, size))
    for i in range(size):
        for j in range(size):
            L[i, j] = gram[p, i, j] / ridge
        L[i, i] += 1
    panel, rows = np.empty((size, PANEL)), np.empty((size, PANEL))
    for low in range(0, size, PANEL):
        high = min(low + PANEL, size)
        n = high - low
        if low > 0:
            transpose(L[low:high, :low], rows[:low, :n])
            gemm(-1.0, L[low:, :low], rows[:low, :n], 1.0, L[low:, low:high])
        factorise(L[low:high, low:high])
        invert_lower(L[low:high, low:high], R[low:high, low:high])
        if high < size:
            copy(L[high:, low:high], panel[high:, :n])
            transpose(R[low:high, low:high], rows[:n, :n])
            gemm(1.0, panel[high:, :n], rows[:n, :n], 0.0, L[high:, low:high])
        for left in range(0, low, PANEL):
            right = left + PANEL
            gemm(-1.0, L[low:high, left:low], R[left:low, left:right], 0.0, panel[:n])
            gemm(1.0, R[low:high, low:high], panel[:n], 0.0, R[low:high, left:right])
    for low in range(0, size, PANEL):
        high = min(low + PANEL, size)
        gemm(1.0, R[low:, low:high].T, R[low:, :high], 0.0, product[low:high, :high])
    for i in range(size):
        for j in range(i + 1):
            out[p, i, j] = out[p, j, i] = product[i, j]


class _Update(torch.autograd.Function):
    @staticmethod
    def forward(ctx, memory, precision, keys, targets, chunk):  # type: ignore[no-untyped-def]
        M, P, K, V = (array(each) for each in (memory, precision, keys, targets))
        chunks = -(-K.shape[1] // chunk) if any(ctx.needs_input_grad) else 0
        memories = empty((len(M), chunks, *M.shape[:0:-1]), M)
        precisions = empty((len(M), chunks, *P.shape[1:]), M)
        final, P_end, outputs = empty(M.shape, M), empty(P.shape, M), empty(V.shape, M)
        forward(len(M), M, P, K, V, chunk, memories, precisions, final, P_end, outputs)
        ctx.saved = K, V, chunk, memories, precisions
        return tensor(final, *M.shape), tensor(P_end, *P.shape), tensor(outputs, *V.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_memory, d_precision, d_outputs):  # type: ignore[no-untyped-def]
        K, V = ctx.saved[:2]
        D, DP = array(d_memory).copy(), array(d_precision).copy()
        dK, dV = empty(K.shape, K), empty(V.shape, K)
        backward(len(K), *ctx.saved, array(d_outputs), D, DP, dK, dV)
        return (*(tensor(each, *each.shape) for each in (D, DP, dK, dV)), None)


def update(memory: Tensor, precision: Tensor, keys: Tensor, targets: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Memory, precision and outputs; arguments as in `metric_update`."""
    return _Update.apply(memory, precision, keys, targets, max(1, min(chunk, keys.shape[1])))


def step(
    weights: Tensor,
    gram: Tensor,
    projector: Tensor,
    keys: Tensor,
    surprises: Tensor,
    rate: float,
    bound: float,
    share: float,
    retain: float,
) -> None:
    """The protected step and the metric's new keys, in place; arguments as in `metric_step`."""
    tensors = [array(each) for each in (weights, gram, projector, keys, surprises)]
    protected_step(len(weights), *tensors, np.array([rate, bound, share, retain], tensors[0].dtype))


def inverse(gram: Tensor, ridge: float) -> Tensor:
    """(I + gram / ridge)⁻¹; arguments as in `protecting`."""
    A = array(gram)
    out = empty(A.shape, A)
    inverses(len(A), A, float(ridge), out)
    return tensor(out, *gram.shape)
