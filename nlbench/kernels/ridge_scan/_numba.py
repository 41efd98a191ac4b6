"""The exact ridge memory on CPU cores: chunks at once but for two sums over them, each in cache, in the metric of its start.

Letters: a chunk of C tokens whose products of retentions are γ_t; A = M D Mᵀ the gram at its start with the whole ridge. What
stands in columns of X is seen through R = D^(-1/2) M⁻¹, where A is I: keys k, queries q, and W, the memory of least error at
the start. With s = √(η / γ), L Lᵀ = I + diag(s) kᵀ k diag(s), whose leading blocks are those of L, and F = L⁻¹ diag(s) kᵀ,
token t finds

    γ_t x_t = q_t - Fᵀ y_t             y_t = F q_t, its first t entries
    o_t = Wᵀ q_t + Σ_{j≤t} c_tj (v_j - Wᵀ k_j)         c_t = diag(s) L⁻ᵀ y_t

so that what is read is W and errors of it, never B x, whose terms are larger than their sum. Backward, z_t = W_t ∂o_t is found
in the same way, ∂q_t = z_t, and with ∂A_t = -z_t x_tᵀ and ∂B_t = ∂o_t x_tᵀ the gradients of keys and targets are reads of two
more states, carried from the last chunk to the first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.kernels.programs import Program, array, empty, tensor
from nlbench.kernels.ridge_scan.retention import retention_gradients
from nlbench.kernels.tiles import (
    copy,
    factor,
    gemm,
    inner_product,
    kernel,
    solve_unit_lower,
    solve_unit_lower_transposed,
    transpose,
)


class Work(NamedTuple):
    """One chunk as its reads need it: A factored, X = (k, q, W), L factored, F, y by columns, the errors, and γ and s."""

    A: Any
    roots: Any
    X: Any
    L: Any
    lengths: Any
    F: Any
    y: Any
    errors: Any
    through: Any
    s: Any


@kernel()
def scale_rows(X, factors):  # type: ignore[no-untyped-def]
    """Row i of X is multiplied by factors[i]."""
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            X[i, j] *= factors[i]


@kernel()
def forget_later(Y):  # type: ignore[no-untyped-def]
    """What token j (rows) gives to tokens before it (columns) becomes zero."""
    for j in range(Y.shape[0]):
        for t in range(j):
            Y[j, t] = 0


@kernel()
def prepared(k, v, eta, alpha, q, gram, memory, level):  # type: ignore[no-untyped-def]
    """The chunk in the metric of its start; of X, q is still what was asked, not yet γ x."""
    C, K = k.shape
    V, kind = v.shape[1], k.dtype
    A, roots, lengths = np.empty((K, K), kind), np.empty(K, kind), np.empty(C, kind)
    X, L, F, y = np.empty((K, 2 * C + V), kind), np.empty((C, C), kind), np.empty((C, K), kind), np.empty((C, C), kind)
    errors, through, s, scaled = np.empty((C, V), kind), np.empty(C, kind), np.empty(C, kind), np.empty((K, C), kind)
    product = kind.type(1)
    for t in range(C):
        product *= alpha[t]
        through[t] = product
        s[t] = np.sqrt(eta[t] / product)
    copy(gram, A)
    for i in range(K):
        A[i, i] += level
    factor(A, roots)
    transpose(k, X[:, :C])
    transpose(q, X[:, C : 2 * C])
    transpose(memory, X[:, 2 * C :])
    solve_unit_lower(A, X)
    scale_rows(X, roots)
    for i in range(K):
        for t in range(C):
            scaled[i, t] = X[i, t] * s[t]
    transpose(scaled, F)
    gemm(1.0, F, scaled, 0.0, L)
    for t in range(C):
        L[t, t] += kind.type(1)
    factor(L, lengths)
    solve_unit_lower(L, F)
    scale_rows(F, lengths)
    gemm(1.0, F, X[:, C : 2 * C], 0.0, y)
    forget_later(y)
    copy(v, errors)
    gemm(-1.0, X[:, :C].T, X[:, 2 * C :], 1.0, errors)
    return Work(A, roots, X, L, lengths, F, y, errors, through, s)


@Program
def carry(p, K, T, rate, retain, chunk, grams, memories, gram, memory):  # type: ignore[no-untyped-def]
    """The states of one program at every chunk's start, which need not be kept; `gram` and `memory` become those of the end."""
    tokens, kind = K.shape[1], K.dtype
    weighted = np.empty((min(chunk, tokens), K.shape[2]), kind)
    for index in range((tokens + chunk - 1) // chunk):
        low, high = index * chunk, min(index * chunk + chunk, tokens)
        copy(gram[p], grams[p, index])
        copy(memory[p], memories[p, index])
        total = kind.type(1)
        for t in range(high - low - 1, -1, -1):
            weight = rate[p, low + t] * total
            total *= retain[p, low + t]
            for i in range(K.shape[2]):
                weighted[t, i] = weight * K[p, low + t, i]
        rows = weighted[: high - low]
        gemm(1.0, K[p, low:high].T, rows, total, gram[p])
        gemm(1.0, T[p, low:high].T, rows, total, memory[p])


@Program
def read(c, K, T, rate, retain, Q, ridge, chunk, grams, memories, outputs):  # type: ignore[no-untyped-def]
    """The outputs of one chunk."""
    chunks = grams.shape[1]
    p, index = c // chunks, c % chunks
    low, high = index * chunk, min(index * chunk + chunk, K.shape[1])
    gates = rate[p, low:high], retain[p, low:high]
    w = prepared(K[p, low:high], T[p, low:high], *gates, Q[p, low:high], grams[p, index], memories[p, index], ridge[p])
    C, o = high - low, outputs[p, low:high]
    scale_rows(w.y, w.lengths)
    solve_unit_lower_transposed(w.L, w.y)
    scale_rows(w.y, w.s)
    gemm(1.0, w.X[:, C : 2 * C].T, w.X[:, 2 * C :], 0.0, o)
    gemm(1.0, w.y.T, w.errors, 1.0, o)


@Program
def read_backward(  # type: ignore[no-untyped-def]
    c, K, T, rate, retain, Q, ridge, chunk, grams, memories, dO, solved, dQ, read_sums, solve_sums, faded
):
    """γ x and z of one chunk's tokens; what they add to Σ x ∂oᵀ and Σ (z xᵀ + x zᵀ) by its start, and Σ γ zᵀ x, of the ridge."""
    chunks = grams.shape[1]
    p, index = c // chunks, c % chunks
    low, high = index * chunk, min(index * chunk + chunk, K.shape[1])
    gates = rate[p, low:high], retain[p, low:high]
    w = prepared(K[p, low:high], T[p, low:high], *gates, Q[p, low:high], grams[p, index], memories[p, index], ridge[p])
    C, width, V, kind = high - low, K.shape[2], T.shape[2], K.dtype
    d_o, found, met = np.empty((V, C), kind), np.empty((width, 2 * C), kind), np.empty((C, C), kind)
    x, z = found[:, :C], found[:, C:]
    copy(w.X[:, C : 2 * C], x)
    gemm(-1.0, w.F.T, w.y, 1.0, x)
    transpose(dO[p, low:high], d_o)
    gemm(1.0, w.errors, d_o, 0.0, met)
    scale_rows(met, w.s)
    solve_unit_lower(w.L, met)
    scale_rows(met, w.lengths)
    forget_later(met)
    gemm(1.0, w.X[:, 2 * C :], d_o, 0.0, z)
    gemm(1.0, w.F.T, met, 1.0, z)
    scale_rows(found, w.roots)
    solve_unit_lower_transposed(w.A, found)
    transpose(x, solved[p, low:high])
    transpose(z, dQ[p, low:high])
    faded[p, index] = inner_product(x, z)
    gemm(1.0, x, dO[p, low:high], 0.0, read_sums[p, index])
    gemm(1.0, z, solved[p, low:high], 0.0, solve_sums[p, index])
    gemm(1.0, x, dQ[p, low:high], 1.0, solve_sums[p, index])


@Program
def carry_back(p, retain, chunk, read_sums, solve_sums, DB, DG):  # type: ignore[no-untyped-def]
    """Put what later chunks ask of a chunk's last state in the place of what its own tokens ask of its first; from DB and DG,
    what is asked of the states after all tokens, which become those of the first.
    """
    tokens = retain.shape[1]
    for index in range((tokens + chunk - 1) // chunk - 1, -1, -1):
        total = retain.dtype.type(1)
        for t in range(index * chunk, min(index * chunk + chunk, tokens)):
            total *= retain[p, t]
        for sums, D in ((read_sums[p, index], DB[p]), (solve_sums[p, index], DG[p])):
            for i in range(D.shape[0]):
                for j in range(D.shape[1]):
                    own = sums[i, j]
                    sums[i, j] = D[i, j]
                    D[i, j] = total * D[i, j] + own


@Program
def gradients(  # type: ignore[no-untyped-def]
    c, K, T, rate, retain, chunk, solved, dQ, dO, read_sums, solve_sums, dK, dT, d_rate
):
    """∂k, ∂v and ∂η of one chunk's tokens."""
    chunks = read_sums.shape[1]
    p, index = c // chunks, c % chunks
    low, high = index * chunk, min(index * chunk + chunk, K.shape[1])
    k, v, x, z, d_o = K[p, low:high], T[p, low:high], solved[p, low:high], dQ[p, low:high], dO[p, low:high]
    C, width, V, kind = high - low, K.shape[2], T.shape[2], K.dtype
    through, total = np.empty(C, kind), kind.type(1)
    for t in range(C):
        total *= retain[p, low + t]
        through[t] = total
    turned, D = np.empty((max(width, V), C), kind), np.empty((V, width), kind)
    across, along, found = np.empty((C, width), kind), dK[p, low:high], np.empty((C, C), kind)
    transpose(x, turned[:width])
    gemm(1.0, k, turned[:width], 0.0, found)
    forget_later(found)
    gemm(total, k, read_sums[p, index], 0.0, dT[p, low:high])
    gemm(1.0, found, d_o, 1.0, dT[p, low:high])
    gemm(total, k, solve_sums[p, index], 0.0, across)
    gemm(1.0, found, z, 1.0, across)
    transpose(z, turned[:width])
    gemm(1.0, k, turned[:width], 0.0, found)
    forget_later(found)
    gemm(1.0, found, x, 1.0, across)
    transpose(d_o, turned[:V])
    gemm(1.0, v, turned[:V], 0.0, found)
    forget_later(found)
    transpose(read_sums[p, index], D)
    gemm(total, v, D, 0.0, along)
    gemm(1.0, found, x, 1.0, along)
    d_eta, half = d_rate[p, low:high], kind.type(0.5)
    for t in range(C):
        weight, own = rate[p, low + t] / through[t], kind.type(0)
        for i in range(width):
            own += k[t, i] * (along[t, i] - half * across[t, i])
            along[t, i] = weight * (along[t, i] - across[t, i])
        d_eta[t] = own / through[t]
        for i in range(V):
            dT[p, low + t, i] *= weight


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gram, memory, keys, targets, rate, retain, queries, ridge, chunk):  # type: ignore[no-untyped-def]
        K, T, eta, alpha, Q = (array(each, 2) for each in (keys, targets, rate, retain, queries))
        level = array(ridge, 2)
        G, B = array(0.5 * (gram + gram.mT), 2), array(memory, 2).copy()
        count, tokens, width = K.shape
        chunks = -(-tokens // chunk)
        grams, memories = empty((count, chunks, width, width), K), empty((count, chunks, *B.shape[1:]), K)
        outputs = empty(T.shape, K)
        carry(count, K, T, eta, alpha, chunk, grams, memories, G, B)
        read(count * chunks, K, T, eta, alpha, Q, level, chunk, grams, memories, outputs)
        last = tensor(G, *gram.shape), tensor(B, *memory.shape)
        ctx.save_for_backward(rate, retain, ridge, *last)
        ctx.arrays, ctx.chunk = (K, T, eta, alpha, Q, level, grams, memories), chunk
        return *last, tensor(outputs, *targets.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_gram, d_memory, d_outputs):  # type: ignore[no-untyped-def]
        rate, retain, ridge, last_gram, last_memory = ctx.saved_tensors
        (K, T, eta, alpha, Q, level, grams, memories), chunk = ctx.arrays, ctx.chunk
        count, chunks, width = grams.shape[:3]
        dO, solved, dQ = array(d_outputs, 2), empty(K.shape, K), empty(K.shape, K)
        read_sums, solve_sums = empty((count, chunks, width, T.shape[2]), K), empty(grams.shape, K)
        faded = empty((count, chunks), K)
        asked = grams, memories, dO, solved, dQ, read_sums, solve_sums, faded
        read_backward(count * chunks, K, T, eta, alpha, Q, level, chunk, *asked)
        DB, DG = array(d_memory.mT, 2).copy(), array(-(d_gram + d_gram.mT), 2)
        carry_back(count, alpha, chunk, read_sums, solve_sums, DB, DG)
        dK, dT, d_rate = empty(K.shape, K), empty(T.shape, K), empty(eta.shape, K)
        gradients(count * chunks, K, T, eta, alpha, chunk, solved, dQ, dO, read_sums, solve_sums, dK, dT, d_rate)
        d_eta = tensor(d_rate, *rate.shape)
        ends = (d_gram * last_gram).sum((-2, -1)) + (d_memory * last_memory).sum((-2, -1))
        d_alpha, d_ridge = retention_gradients(rate, retain, ridge, d_eta, tensor(faded, *ridge.shape, chunks), ends, chunk)
        states = tensor(-0.5 * DG, *d_gram.shape), tensor(DB, *d_memory.mT.shape).mT
        lead = rate.shape
        return *states, tensor(dK, *lead, width), tensor(dT, *lead, -1), d_eta, d_alpha, tensor(dQ, *lead, width), d_ridge, None


def scan(
    gram: Tensor,
    memory: Tensor,
    keys: Tensor,
    targets: Tensor,
    rate: Tensor,
    retain: Tensor,
    queries: Tensor,
    ridge: Tensor,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gram, memory and outputs after all tokens; arguments as in `ridge_scan`."""
    return _Scan.apply(gram, memory, keys, targets, rate, retain, queries, ridge, min(chunk, keys.shape[2]))
