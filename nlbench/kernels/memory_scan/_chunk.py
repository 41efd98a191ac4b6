"""One chunk of a linear memory in Numba, forward and backward, as small matrix products: what the scans on CPU cores are made of.

The reference's letters, and two of this file: E = η (r - u) are the rows that reach the memory, so that without momentum
M_C = γ_C M_0 + (s E)ᵀ K, and a = η r the writes that momentum carries on. Momentum adds the excess W[t, i] = w(t, i) - Γ[t, i]
and its column c_t = W[t, 0]. States are held transposed, (d_k, d_v): every product here then has row-major factors.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from nlbench.kernels.tiles import (
    add_row_dots,
    fill_zero,
    gemm,
    inner_product,
    kernel,
    solve_unit_lower,
    solve_unit_lower_transposed,
    transpose,
)

RESIDUALS: Final = {"given": 0, "minus_prediction": 1, "self_generated": 2}
MINUS_PREDICTION, SELF_GENERATED = 1, 2


class Work(NamedTuple):
    """One chunk's intermediate results: (C, C), (C + 1, C + 1), (C, d_v) and transposes."""

    KT: Any
    similarity: Any
    decay: Any
    carry: Any
    excess: Any
    system: Any
    mask: Any
    P: Any
    PS: Any
    R: Any
    a: Any
    u: Any
    E: Any
    X: Any


class Reverse(NamedTuple):
    """The backward pass's own intermediates."""

    d_decay: Any
    d_carry: Any
    d_excess: Any
    d_similarity: Any
    square: Any
    T: Any
    Z: Any
    ZS: Any
    dE: Any  # noqa: N815
    da: Any
    du: Any
    M0: Any
    S0: Any
    DT: Any


@kernel()
def new_work(C, K, V, momentum, like):  # type: ignore[no-untyped-def]
    """A workspace for chunks of C tokens."""
    kind = like.dtype
    B = C if momentum else 0
    return Work(
        np.empty((K, C), kind),
        np.empty((C, C), kind),
        np.empty((C + 1, C + 1), kind),
        np.empty((B + 1, B + 1), kind),
        np.empty((B + 1, B + 1), kind),
        np.empty((C, C), kind),
        np.empty((C, C), kind),
        np.empty((C, V), kind),
        np.empty((B, V), kind),
        np.empty((C, V), kind),
        np.empty((C, V), kind),
        np.empty((C, V), kind),
        np.empty((C, V), kind),
        np.empty((C, V), kind),
    )


@kernel()
def new_reverse(C, K, V, momentum, like):  # type: ignore[no-untyped-def]
    """A workspace for the backward pass of chunks of C tokens."""
    kind = like.dtype
    B = C if momentum else 0
    return Reverse(
        np.empty((C + 1, C + 1), kind),
        np.empty((B + 1, B + 1), kind),
        np.empty((B + 1, B + 1), kind),
        np.empty((C, C), kind),
        np.empty((C, C), kind),
        np.empty((V, C), kind),
        np.empty((C, V), kind),
        np.empty((B, V), kind),
        np.empty((C, V), kind),
        np.empty((C, V), kind),
        np.empty((C, V), kind),
        np.empty((V, K), kind),
        np.empty((V if momentum else 0, K), kind),
        np.empty((K, V), kind),
    )


@kernel()
def decay_products(factors, out):  # type: ignore[no-untyped-def]
    """out[t, i] = Π_{i<l≤t} factors_l on and below the diagonal, zero above it."""
    size = out.shape[0]
    for i in range(size):
        out[0, i] = 0
    out[0, 0] = 1
    for t in range(1, size):
        for i in range(size):
            out[t, i] = factors[t - 1] * out[t - 1, i]
        out[t, t] = 1


@kernel()
def decay_products_backward(factors, products, d_products, d_factors):  # type: ignore[no-untyped-def]
    """Add to d_factors what reaches it through `decay_products`; uses up d_products."""
    size = products.shape[0]
    for t in range(size - 1, 0, -1):
        for i in range(t + 1, size):
            d_products[t, i] = 0
        d_products[t, t] = 0  # a constant 1
        for i in range(size):
            d_products[t - 1, i] += factors[t - 1] * d_products[t, i]
    add_row_dots(d_products[1:], products[:-1], d_factors)


@kernel()
def momentum_excess(retain, carry, out):  # type: ignore[no-untyped-def]
    """out[t, i] = w(t, i) - Γ[t, i]: what momentum adds by token t to a write of token i; column 0 is c. Zero above."""
    size = out.shape[0]
    for i in range(size):
        out[0, i] = 0
    for t in range(1, size):
        for i in range(size):
            out[t, i] = retain[t - 1] * out[t - 1, i] + carry[t, i]
        out[t, t] = 0


@kernel()
def momentum_excess_backward(retain, excess, d_excess, d_retain, d_carry):  # type: ignore[no-untyped-def]
    """Add to d_retain and d_carry what reaches them through `momentum_excess`; uses up d_excess."""
    size = excess.shape[0]
    for t in range(size - 1, 0, -1):
        for i in range(t, size):
            d_excess[t, i] = 0
        for i in range(size):
            d_excess[t - 1, i] += retain[t - 1] * d_excess[t, i]
        for i in range(size):
            d_carry[t, i] += d_excess[t, i]
    add_row_dots(d_excess[1:], excess[:-1], d_retain)


@kernel()
def masked(products, similarity, out):  # type: ignore[no-untyped-def]
    """out[t, i] = products[t, i + 1] similarity[t, i]: Λ ∘ K Kᵀ for Γ, zero on and above the diagonal as there."""
    for t in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[t, i] = products[t, i + 1] * similarity[t, i]


@kernel()
def add_product(A, B, out):  # type: ignore[no-untyped-def]
    """out[t, i + 1] += A[t, i] B[t, i]; what lands on or above the diagonal of out's columns 1 … is never read."""
    for t in range(A.shape[0]):
        for i in range(A.shape[1]):
            out[t, i + 1] += A[t, i] * B[t, i]


@kernel()
def weighted_rows(weights, rows, out):  # type: ignore[no-untyped-def]
    """out[t] = weights[t] rows[t]."""
    for t in range(rows.shape[0]):
        weight = weights[t]
        for v in range(rows.shape[1]):
            out[t, v] = weight * rows[t, v]


@kernel()
def add_weighted_rows(weights, rows, out):  # type: ignore[no-untyped-def]
    """out[t] += weights[t] rows[t]."""
    for t in range(rows.shape[0]):
        weight = weights[t]
        for v in range(rows.shape[1]):
            out[t, v] += weight * rows[t, v]


@kernel()
def solve_chunk(K, targets, probes, rate, retain, momentum, MT, ST, residual, w):  # type: ignore[no-untyped-def]
    """Fill the workspace with E and all that leads to it."""
    size, width = targets.shape
    transpose(K, w.KT)
    gemm(1.0, K, w.KT, 0.0, w.similarity)
    decay_products(retain, w.decay)
    gemm(1.0, K, MT, 0.0, w.P)
    predicted = rate.dtype.type(1 if residual == MINUS_PREDICTION else 0)
    for t in range(size):
        for v in range(width):
            w.R[t, v] = targets[t, v] - predicted * w.P[t, v]
    if residual == SELF_GENERATED:
        gemm(1.0, probes, MT, 1.0, w.R)
    weighted_rows(w.decay[:size, 0], w.P, w.u)
    if momentum.shape[0] > 0:
        weighted_rows(rate, w.R, w.a)
        decay_products(momentum, w.carry)
        momentum_excess(retain, w.carry, w.excess)
        gemm(1.0, K, ST, 0.0, w.PS)
        masked(w.excess, w.similarity, w.mask)
        gemm(1.0, w.mask, w.a, 1.0, w.u)
        add_weighted_rows(w.excess[:size, 0], w.PS, w.u)
    masked(w.decay, w.similarity, w.system)
    for t in range(size):
        eta = rate[t]
        for i in range(size):
            w.system[t, i] *= eta
        for v in range(width):
            w.E[t, v] = eta * (w.R[t, v] - w.u[t, v])
    solve_unit_lower(w.system, w.E)


@kernel()
def read_exact(Q, MT, ST, has_momentum, w, out):  # type: ignore[no-untyped-def]
    """out[t] = M_{t-1} q_t of a solved chunk."""
    size, overlap = Q.shape[0], np.empty_like(w.mask)
    gemm(1.0, Q, MT, 0.0, out)
    for t in range(size):
        for v in range(out.shape[1]):
            out[t, v] *= w.decay[t, 0]
    gemm(1.0, Q, w.KT, 0.0, overlap)
    masked(w.decay, overlap, w.mask)
    gemm(1.0, w.mask, w.E, 1.0, out)
    if has_momentum:
        gemm(1.0, Q, ST, 0.0, w.X)
        add_weighted_rows(w.excess[:size, 0], w.X, out)
        masked(w.excess, overlap, w.mask)
        gemm(1.0, w.mask, w.a, 1.0, out)


@kernel()
def read_exact_backward(K, Q, MT, ST, dO, has_momentum, w, r, dQ, dK, D, DS):  # type: ignore[no-untyped-def]
    """Add what reaches the chunk's tensors through its exact reads; starts dQ."""
    size = Q.shape[0]
    gemm(1.0, Q, MT, 0.0, w.X)
    add_row_dots(dO, w.X, r.d_decay[:size, 0])
    weighted_rows(w.decay[:size, 0], dO, w.X)
    gemm(1.0, w.X, r.M0, 0.0, dQ)
    gemm(1.0, w.X.T, Q, 1.0, D)
    if has_momentum:
        gemm(1.0, Q, ST, 0.0, w.X)
        add_row_dots(dO, w.X, r.d_excess[:size, 0])
        weighted_rows(w.excess[:size, 0], dO, w.X)
        gemm(1.0, w.X, r.S0, 1.0, dQ)
        gemm(1.0, w.X.T, Q, 1.0, DS)
    overlap, weights = np.empty_like(w.mask), np.empty_like(w.mask)
    gemm(1.0, Q, w.KT, 0.0, overlap)
    transpose(w.E, r.T)
    gemm(1.0, dO, r.T, 0.0, r.square)
    masked(w.decay, r.square, weights)
    add_product(overlap, r.square, r.d_decay)
    masked(w.decay, overlap, w.mask)
    gemm(1.0, w.mask.T, dO, 1.0, r.dE)
    if has_momentum:
        transpose(w.a, r.T)
        gemm(1.0, dO, r.T, 0.0, r.square)
        masked(w.excess, r.square, w.mask)
        add_product(overlap, r.square, r.d_excess)
        for t in range(size):
            for i in range(size):
                weights[t, i] += w.mask[t, i]
        masked(w.excess, overlap, w.mask)
        gemm(1.0, w.mask.T, dO, 1.0, r.da)
    gemm(1.0, weights, K, 1.0, dQ)
    gemm(1.0, weights.T, Q, 1.0, dK)


@kernel()
def write_backward(K, MT, ST, has_momentum, w, r, dK, D, DS):  # type: ignore[no-untyped-def]
    """Take D and DS back over the chunk's write: starts dE, da and dK, and the derivatives of the last row of every mask."""
    size = K.shape[0]
    transpose(MT, r.M0)
    transpose(D, r.DT)
    gemm(1.0, K, r.DT, 0.0, r.Z)
    fill_zero(r.d_decay)
    r.d_decay[size, 0] = inner_product(D, r.M0)
    add_row_dots(w.E, r.Z, r.d_decay[size, 1:])
    weighted_rows(w.decay[size, 1:], r.Z, r.dE)
    weighted_rows(w.decay[size, 1:], w.E, w.X)
    if not has_momentum:
        gemm(1.0, w.X, D, 0.0, dK)
        for v in range(D.shape[0]):
            for k in range(D.shape[1]):
                D[v, k] *= w.decay[size, 0]
        return
    add_weighted_rows(w.excess[size, 1:], w.a, w.X)
    gemm(1.0, w.X, D, 0.0, dK)
    weighted_rows(w.carry[size, 1:], w.a, w.X)
    gemm(1.0, w.X, DS, 1.0, dK)
    transpose(ST, r.S0)
    transpose(DS, r.DT)
    gemm(1.0, K, r.DT, 0.0, r.ZS)
    fill_zero(r.d_excess)
    fill_zero(r.d_carry)
    r.d_excess[size, 0] = inner_product(D, r.S0)
    r.d_carry[size, 0] = inner_product(DS, r.S0)
    add_row_dots(w.a, r.Z, r.d_excess[size, 1:])
    add_row_dots(w.a, r.ZS, r.d_carry[size, 1:])
    weighted_rows(w.excess[size, 1:], r.Z, r.da)
    add_weighted_rows(w.carry[size, 1:], r.ZS, r.da)
    for v in range(D.shape[0]):
        for k in range(D.shape[1]):
            velocity_part = w.excess[size, 0] * D[v, k] + w.carry[size, 0] * DS[v, k]
            D[v, k] *= w.decay[size, 0]
            DS[v, k] = velocity_part


@kernel()
def solve_backward(K, probes, rate, has_momentum, residual, w, r, dK, d_targets, d_probes, d_rate, D, DS):  # type: ignore[no-untyped-def]
    """Take dE, and da of the writes that momentum carries on, back over `solve_chunk`."""
    size, width = w.E.shape
    solve_unit_lower_transposed(w.system, r.dE)
    transpose(w.E, r.T)
    gemm(-1.0, r.dE, r.T, 0.0, r.square)
    masked(w.decay, w.similarity, w.mask)
    add_row_dots(r.square, w.mask, d_rate)
    for t in range(size):
        eta = rate[t]
        for i in range(size):
            r.square[t, i] *= eta
        for i in range(size):
            r.d_similarity[t, i] = w.decay[t, i + 1] * r.square[t, i]
        for v in range(width):
            r.du[t, v] = -eta * r.dE[t, v]
        for v in range(width):
            w.u[t, v] = w.R[t, v] - w.u[t, v]
    add_product(r.square, w.similarity, r.d_decay)
    add_row_dots(r.dE, w.u, d_rate)
    add_row_dots(r.du, w.P, r.d_decay[:size, 0])
    if has_momentum:
        transpose(w.a, r.T)
        gemm(1.0, r.du, r.T, 0.0, r.square)
        add_product(w.similarity, r.square, r.d_excess)
        for t in range(size):
            for i in range(size):
                r.d_similarity[t, i] += w.excess[t, i + 1] * r.square[t, i]
        add_row_dots(r.du, w.PS, r.d_excess[:size, 0])
        masked(w.excess, w.similarity, w.mask)
        gemm(1.0, w.mask.T, r.du, 1.0, r.da)
        weighted_rows(w.excess[:size, 0], r.du, w.X)
        gemm(1.0, w.X, r.S0, 1.0, dK)
        gemm(1.0, w.X.T, K, 1.0, DS)
        add_row_dots(r.da, w.R, d_rate)
    weighted_rows(w.decay[:size, 0], r.du, w.X)
    for t in range(size):
        eta = rate[t]
        for v in range(width):
            d_targets[t, v] = -r.du[t, v]
        if has_momentum:
            for v in range(width):
                d_targets[t, v] += eta * r.da[t, v]
        if residual == MINUS_PREDICTION:
            for v in range(width):
                w.X[t, v] -= d_targets[t, v]
    if residual == SELF_GENERATED:
        gemm(1.0, d_targets, r.M0, 0.0, d_probes)
        gemm(1.0, d_targets.T, probes, 1.0, D)
    gemm(1.0, w.X, r.M0, 1.0, dK)
    gemm(1.0, w.X.T, K, 1.0, D)
    gemm(1.0, r.d_similarity, K, 1.0, dK)
    gemm(1.0, r.d_similarity.T, K, 1.0, dK)


@kernel()
def write(K, has_momentum, w, MT, ST):  # type: ignore[no-untyped-def]
    """Move the state, and the velocity, over a solved chunk."""
    size = K.shape[0]
    weighted_rows(w.decay[size, 1:], w.E, w.X)
    if not has_momentum:
        gemm(1.0, K.T, w.X, w.decay[size, 0], MT)
        return
    add_weighted_rows(w.excess[size, 1:], w.a, w.X)
    for k in range(MT.shape[0]):
        for v in range(MT.shape[1]):
            MT[k, v] = w.decay[size, 0] * MT[k, v] + w.excess[size, 0] * ST[k, v]
    gemm(1.0, K.T, w.X, 1.0, MT)
    weighted_rows(w.carry[size, 1:], w.a, w.X)
    gemm(1.0, K.T, w.X, w.carry[size, 0], ST)


@kernel()
def chunk_backward(  # type: ignore[no-untyped-def]
    K,
    probes,
    rate,
    retain,
    momentum,
    Q,
    MT,
    ST,
    dO,
    residual,
    exact,
    w,
    r,
    dK,
    dT,
    d_probes,
    d_rate,
    d_retain,
    d_momentum,
    dQ,
    D,
    DS,
):
    """The gradients of one solved chunk; D and DS enter as dM_C and dS_C and leave as dM_0 and dS_0. No Q: no reads."""
    has_momentum = momentum.shape[0] > 0
    write_backward(K, MT, ST, has_momentum, w, r, dK, D, DS)
    if Q.shape[0] > 0:
        if exact:
            read_exact_backward(K, Q, MT, ST, dO, has_momentum, w, r, dQ, dK, D, DS)
        else:
            gemm(1.0, dO, r.M0, 0.0, dQ)
            gemm(1.0, dO.T, Q, 1.0, D)
    for t in range(K.shape[0]):
        d_rate[t] = 0
        d_retain[t] = 0
    solve_backward(K, probes, rate, has_momentum, residual, w, r, dK, dT, d_probes, d_rate, D, DS)
    if has_momentum:
        for t in range(K.shape[0]):
            d_momentum[t] = 0
        momentum_excess_backward(retain, w.excess, r.d_excess, d_retain, r.d_carry)
        decay_products_backward(momentum, w.carry, r.d_carry, d_momentum)
    decay_products_backward(retain, w.decay, r.d_decay, d_retain)
