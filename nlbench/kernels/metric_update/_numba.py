"""The metric's operations on CPU cores: one program per seed, or per seed and panel. Symmetric results are computed above the
diagonal; a precision is mirrored, a gram is not: where that is wide, the image takes longer than the product.

A product's larger factor is the left one, which passes through the cache once: keys are held transposed, (D, B), beside it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.kernels.metric_update.reference import RAISES
from nlbench.kernels.metric_update.reference import bounded as bounded
from nlbench.kernels.metric_update.reference import read_out as read_out
from nlbench.kernels.programs import Program, array, empty, tensor
from nlbench.kernels.tiles import add, copy, gemm, inner_product, kernel, transpose

PANEL: Final = 64
"""Rows that are computed at once above the diagonal of a symmetric matrix, and columns of a blocked factorisation."""
DEPTH: Final = 256
"""Terms of a product whose factors are to stay in the second-level cache."""
ROWS: Final = 8
"""Rows of an outer product that are finished before the next: whole rows of memory in order."""


@kernel()
def upper_panel(alpha, A, beta, C, low):  # type: ignore[no-untyped-def]
    """Rows low … low + PANEL of C (D, D) = alpha Aᵀ A + beta C, for A (n, D), from the first of their diagonal on."""
    high = min(low + PANEL, C.shape[0])
    gemm(alpha, A[:, low:high].T, A[:, low:], beta, C[low:high, low:])


@kernel()
def upper_update(alpha, A, beta, C):  # type: ignore[no-untyped-def]
    """C (D, D) = alpha Aᵀ A + beta C for A (n, D), on and above the diagonal."""
    for low in range(0, C.shape[0], PANEL):
        upper_panel(alpha, A, beta, C, low)


@kernel()
def symmetric_update(alpha, A, beta, C):  # type: ignore[no-untyped-def]
    """C (D, D) = alpha Aᵀ A + beta C for A (n, D), symmetric bit for bit."""
    size = C.shape[0]
    for low in range(0, size, PANEL):
        high = min(low + PANEL, size)
        upper_panel(alpha, A, beta, C, low)
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


@kernel()
def times_symmetric(A, S, AT, found, out):  # type: ignore[no-untyped-def]
    """out = A S for A (n, D) and symmetric S (D, D), which passes through the cache once; AT and found (D, n) are workspace."""
    transpose(A, AT)
    gemm(1.0, S, AT, 0.0, found)
    transpose(found, out)


@Program
def forward(p, memory, precision, keys, targets, chunk, memories, precisions, projected, final, P_end, outputs):  # type: ignore[no-untyped-def]
    """One seed's tokens. If they have room, `memories` and `precisions` receive Mᵀ and P as chunks start, `projected` K P."""
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
        K, out, x, e, r = keys[p, low:high], outputs[p, low:high], X[:n], E[:n], R[:n, :n]
        gemm(1.0, K, MT, 0.0, out)
        times_symmetric(K, P, np.empty((width, n), kind), np.empty((width, n), kind), x)
        if keep:
            copy(MT, memories[p, index])
            copy(P, precisions[p, index])
            copy(x, projected[p, low:high])
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
def backward(p, keys, targets, chunk, memories, precisions, projected, d_outputs, D, DP, dK, dV):  # type: ignore[no-untyped-def]
    """One seed's gradients, last chunk first; D (V, D) and DP enter as those of the end and leave as those of the start.

    With G = (I + X Kᵀ)⁻¹, X = K P, E = V - K Mᵀ: M' = M + Eᵀ G X and P' = P - Xᵀ G X.
    """
    tokens, width = keys.shape[1:]
    answers, kind = targets.shape[2], keys.dtype
    M, DT = np.empty((answers, width), kind), np.empty((width, answers), kind)
    panel = np.empty((min(PANEL, width), width), kind)
    for index in range((tokens + chunk - 1) // chunk - 1, -1, -1):
        low, high = index * chunk, min(index * chunk + chunk, tokens)
        n = high - low
        MT, P, X = memories[p, index], precisions[p, index], projected[p, low:high]
        K, dO, dk, dE = keys[p, low:high], d_outputs[p, low:high], dK[p, low:high], dV[p, low:high]
        R, G, wide = np.empty((n, n)), np.empty((n, n)), np.empty((2 * n, max(width, answers)))
        E, GE = np.empty((n, answers), kind), np.empty((n, answers), kind)
        GX, dX, Y = np.empty((n, width), kind), np.empty((n, width), kind), np.empty((n, width), kind)
        columns, found = np.empty((width, n), kind), np.empty((width, n), kind)
        dG, dS = np.empty((n, n), kind), np.empty((n, n), kind)
        whitening(K, X, R)
        gemm(-1.0, K, MT, 0.0, E)
        for t in range(n):
            for v in range(answers):
                E[t, v] += targets[p, low + t, v]
        gemm(1.0, R.T, R, 0.0, G)
        whiten(G, X, wide[:, :width], GX)
        whiten(G, E, wide[:, :answers], GE)
        transpose(MT, M)
        transpose(D[p], DT)
        gemm(1.0, GX, DT, 0.0, dE)
        # Half of -G X (dP' + dP'ᵀ) in Y: the sum first, as the two cancel. -G dG G with dG = E dM' Xᵀ - X dP' Xᵀ, made
        # symmetric, is half of G (E dM' - X dP') (G X)ᵀ and its transpose.
        transpose(GX, columns)
        for row in range(0, width, PANEL):
            high_row = min(row + PANEL, width)
            both = panel[: high_row - row]
            transpose(DP[p, :, row:high_row], both)
            add(DP[p, row:high_row], both)
            gemm(-0.5, both, columns, 0.0, found[row:high_row])
        transpose(found, Y)
        gemm(1.0, GE, D[p], 0.0, dX)
        for t in range(n):
            for d in range(width):
                own, half = dX[t, d], Y[t, d]
                dX[t, d] = own + 2 * half
                Y[t, d] = own + half
        gemm(-1.0, Y, columns, 0.0, dG)
        for t in range(n):
            for i in range(n):
                dS[t, i] = (dG[t, i] + dG[i, t]) / 2
        gemm(1.0, dS, K, 1.0, dX)
        gemm(1.0, dS, X, 0.0, dk)
        times_symmetric(dX, P, columns, found, Y)
        add(Y, dk)
        for row in range(0, width, ROWS):
            gemm(1.0, K[:, row : row + ROWS].T, dX, 1.0, DP[p, row : row + ROWS])
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
    K, W, rate = keys[p], weights[p], numbers[0]
    KT, moves_T, moves = np.empty((width, size), kind), np.empty((width, size), kind), np.empty((size, width), kind)
    surprises_T = np.empty((outputs, size), kind)
    transpose(K, KT)
    gemm(1.0, projector[p], KT, 0.0, moves_T)
    transpose(moves_T, moves)
    transpose(surprises[p], surprises_T)
    if numbers[1] < np.inf:
        overlaps, products = np.empty((size, size), kind), np.empty((size, size), kind)
        gemm(1.0, surprises[p], surprises_T, 0.0, overlaps)
        gemm(1.0, moves, moves_T, 0.0, products)
        length = np.sqrt(inner_product(overlaps, products))
        if length > numbers[1]:
            rate *= numbers[1] / length
    for low in range(0, outputs, ROWS):
        gemm(-rate, surprises_T[low : low + ROWS], moves, 1.0, W[low : low + ROWS])
    if numbers[2] != 0 or numbers[3] != 1:
        upper_update(numbers[2], K, numbers[3], gram[p])


@Program
def gathered(index, panels, keys, gram, retain):  # type: ignore[no-untyped-def]
    """One panel of one seed's metric; long panels and short ones take turns, so that threads get equal shares."""
    p, panel = index // panels, index % panels
    panel = panel // 2 if panel % 2 == 0 else panels - 1 - panel // 2
    upper_panel(1.0, keys[p], retain, gram[p], panel * PANEL)


@kernel()
def blocked_factor(L, diagonal, failed):  # type: ignore[no-untyped-def]
    """The lower triangle of L (n, n), float64, becomes its Cholesky factor, diagonal (n, PANEL) the inverses of its diagonal
    blocks; failed[0] becomes the first leading minor that is not positive, or 0.
    """
    size = L.shape[0]
    panel, rows = np.empty((size, PANEL)), np.empty((DEPTH, PANEL))
    for low in range(0, size, PANEL):
        high = min(low + PANEL, size)
        n = high - low
        for left in range(0, low, DEPTH):
            right = min(left + DEPTH, low)
            transpose(L[low:high, left:right], rows[: right - left, :n])
            gemm(-1.0, L[low:, left:right], rows[: right - left, :n], 1.0, L[low:, low:high])
        factorise(L[low:high, low:high])
        for i in range(low, high):
            if not L[i, i] > 0:
                failed[0] = i + 1
                return
        invert_lower(L[low:high, low:high], diagonal[low:high, :n])
        if high < size:
            copy(L[high:, low:high], panel[high:, :n])
            transpose(diagonal[low:high, :n], rows[:n, :n])
            gemm(1.0, panel[high:, :n], rows[:n, :n], 0.0, L[high:, low:high])
    failed[0] = 0


@kernel()
def raised_factor(gram, scale, ridge, rounding, raises, L, diagonal, failed):  # type: ignore[no-untyped-def]
    """`blocked_factor` of ridge I + scale gram, its diagonal raised by `rounding` times its trace until there is one. What lies
    above the diagonal of L means nothing, before and after, and beside its diagonal blocks is not touched.
    """
    size, trace, raised = gram.shape[0], 0.0, 0.0
    for i in range(size):
        trace += ridge + scale * gram[i, i]
    for more in raises:
        raised += more * rounding * trace
        for low in range(0, size, PANEL):
            high = min(low + PANEL, size)
            for left in range(0, high, PANEL):
                for i in range(low, high):
                    for j in range(left, min(left + PANEL, i + 1)):
                        L[i, j] = scale * gram[j, i]
            for i in range(low, high):
                L[i, i] += ridge + raised
        blocked_factor(L, diagonal, failed)
        if failed[0] == 0:
            return


@Program
def inverses(p, gram, ridge, rounding, raises, out, failed):  # type: ignore[no-untyped-def]
    """One seed's (I + gram / ridge)⁻¹: the inverse R of the Cholesky factor, then Rᵀ R."""
    size = gram.shape[1]
    L, R, diagonal = np.zeros((size, size)), np.zeros((size, size)), np.empty((size, PANEL))
    raised_factor(gram[p], 1 / ridge, 1.0, rounding, raises, L, diagonal, failed[p])
    panel = np.empty((PANEL, PANEL))
    for low in range(0, size, PANEL):
        high = min(low + PANEL, size)
        n = high - low
        copy(diagonal[low:high, :n], R[low:high, low:high])
        for left in range(0, low, PANEL):
            right = left + PANEL
            gemm(-1.0, L[low:high, left:low], R[left:low, left:right], 0.0, panel[:n])
            gemm(1.0, diagonal[low:high, :n], panel[:n], 0.0, R[low:high, left:right])
    for low in range(0, size, PANEL):
        high = min(low + PANEL, size)
        for left in range(0, high, PANEL):
            right = min(left + PANEL, high)
            gemm(1.0, R[low:, low:high].T, R[low:, left:right], 0.0, L[low:high, left:right])
    for i in range(size):
        for j in range(i + 1):
            out[p, i, j] = out[p, j, i] = L[i, j]


@Program
def solutions(p, gram, products, ridge, rounding, raises, out, failed):  # type: ignore[no-untyped-def]
    """One seed's (gram + ridge I)⁻¹ products, transposed."""
    size, answers = products.shape[1:]
    L, diagonal, block = np.empty((size, size)), np.empty((size, PANEL)), np.empty((PANEL, answers))
    raised_factor(gram[p], 1.0, ridge, rounding, raises, L, diagonal, failed[p])
    Y = np.empty((size, answers))
    copy(products[p], Y)
    for low in range(0, size, PANEL):
        high = min(low + PANEL, size)
        if low > 0:
            gemm(-1.0, L[low:high, :low], Y[:low], 1.0, Y[low:high])
        copy(Y[low:high], block[: high - low])
        gemm(1.0, diagonal[low:high, : high - low], block[: high - low], 0.0, Y[low:high])
    for low in range((size - 1) // PANEL * PANEL, -1, -PANEL):
        high = min(low + PANEL, size)
        if high < size:
            gemm(-1.0, L[high:, low:high].T, Y[high:], 1.0, Y[low:high])
        copy(Y[low:high], block[: high - low])
        gemm(1.0, diagonal[low:high, : high - low].T, block[: high - low], 0.0, Y[low:high])
    for i in range(size):
        for v in range(answers):
            out[p, v, i] = Y[i, v]


class _Update(torch.autograd.Function):
    @staticmethod
    def forward(ctx, memory, precision, keys, targets, chunk):  # type: ignore[no-untyped-def]
        M, P, K, V = (array(each) for each in (memory, precision, keys, targets))
        chunks = -(-K.shape[1] // chunk) if any(ctx.needs_input_grad) else 0
        memories = empty((len(M), chunks, *M.shape[:0:-1]), M)
        precisions = empty((len(M), chunks, *P.shape[1:]), M)
        projected = empty((len(M), K.shape[1] if chunks else 0, K.shape[2]), M)
        final, P_end, outputs = empty(M.shape, M), empty(P.shape, M), empty(V.shape, M)
        forward(len(M), M, P, K, V, chunk, memories, precisions, projected, final, P_end, outputs)
        ctx.saved = K, V, chunk, memories, precisions, projected
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


def accumulate(gram: Tensor, keys: Tensor, retain: float) -> None:
    """The metric's new keys, in place; arguments as in `accumulate` of the op."""
    A, K = array(gram), array(keys)
    panels = -(-A.shape[1] // PANEL)
    gathered(len(A) * panels, panels, K, A, A.dtype.type(retain))


def inverse(gram: Tensor, ridge: float) -> tuple[Tensor, int]:
    """(I + gram / ridge)⁻¹, and the leading minor that is not positive or 0; arguments as in `protecting`."""
    A = array(gram)
    out, failed = empty(A.shape, A), np.zeros((len(A), 1), np.int64)
    inverses(len(A), A, float(ridge), *_rounding(A), out, failed)
    return tensor(out, *gram.shape), int(failed.max(initial=0))


def solve(gram: Tensor, products: Tensor, ridge: float) -> tuple[Tensor, int]:
    """The memory, and the leading minor that is not positive or 0; arguments as in `least_squares`."""
    A, B = array(gram), array(products)
    out, failed = empty((len(B), *B.shape[:0:-1]), A), np.zeros((len(A), 1), np.int64)
    solutions(len(A), A, B, float(ridge), *_rounding(A), out, failed)
    return tensor(out, *out.shape), int(failed.max(initial=0))


def _rounding(A: np.ndarray) -> tuple[float, np.ndarray]:
    """The rounding error of a Gram matrix as a share of its trace, and by how many times that its diagonal is raised."""
    return float(np.finfo(A.dtype).eps) / 2, np.array(RAISES, np.float64)
