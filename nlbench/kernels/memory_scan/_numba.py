"""The chunked scan on CPU cores: one program per seed and head, state and workspace in cache, chunks as small matrix products.

The reference's letters, and two of this file: a = η r are the writes, E = a - η u the rows that reach the memory, so that without
momentum M_C = γ_C M_0 + (s E)ᵀ K. Momentum adds the excess W[t, i] = w(t, i) - Γ[t, i] and its column c_t = W[t, 0].
States are held transposed, (d_k, d_v), which makes every product here one of row-major factors.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.kernels.programs import Program, array, empty, optional, tensor
from nlbench.kernels.tiles import copy, dot, fill_zero, gemm, kernel, solve_unit_lower, solve_unit_lower_transposed, transpose

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
    """out[t, i] = Π_{i<l≤t} factors_l on and below the diagonal; the rest is not touched."""
    out[0, 0] = 1
    for t in range(1, factors.shape[0] + 1):
        for i in range(t):
            out[t, i] = factors[t - 1] * out[t - 1, i]
        out[t, t] = 1


@kernel()
def decay_products_backward(factors, products, d_products, d_factors):  # type: ignore[no-untyped-def]
    """Add to d_factors what reaches it through `decay_products`; uses up d_products."""
    for t in range(factors.shape[0], 0, -1):
        d_factors[t - 1] += dot(d_products[t, :t], products[t - 1, :t])
        for i in range(t):
            d_products[t - 1, i] += factors[t - 1] * d_products[t, i]


@kernel()
def momentum_excess(retain, carry, out):  # type: ignore[no-untyped-def]
    """out[t, i] = w(t, i) - Γ[t, i]: what momentum adds by token t to a write of token i; column 0 is c."""
    out[0, 0] = 0
    for t in range(1, retain.shape[0] + 1):
        for i in range(t):
            out[t, i] = retain[t - 1] * out[t - 1, i] + carry[t, i]
        out[t, t] = 0


@kernel()
def momentum_excess_backward(retain, excess, d_excess, d_retain, d_carry):  # type: ignore[no-untyped-def]
    """Add to d_retain and d_carry what reaches them through `momentum_excess`; uses up d_excess."""
    for t in range(retain.shape[0], 0, -1):
        d_retain[t - 1] += dot(d_excess[t, :t], excess[t - 1, :t])
        for i in range(t):
            d_carry[t, i] += d_excess[t, i]
            d_excess[t - 1, i] += retain[t - 1] * d_excess[t, i]


@kernel()
def masked(products, similarity, out):  # type: ignore[no-untyped-def]
    """out[t, i] = products[t, i + 1] similarity[t, i] below the diagonal (Λ ∘ K Kᵀ for Γ), zero elsewhere."""
    size = out.shape[0]
    for t in range(size):
        for i in range(t):
            out[t, i] = products[t, i + 1] * similarity[t, i]
        for i in range(t, size):
            out[t, i] = 0


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
    for t in range(size):
        for v in range(width):
            w.a[t, v] = rate[t] * w.R[t, v]
            w.u[t, v] = w.decay[t, 0] * w.P[t, v]
    if momentum.shape[0] > 0:
        decay_products(momentum, w.carry)
        momentum_excess(retain, w.carry, w.excess)
        gemm(1.0, K, ST, 0.0, w.PS)
        masked(w.excess, w.similarity, w.mask)
        gemm(1.0, w.mask, w.a, 1.0, w.u)
        for t in range(size):
            for v in range(width):
                w.u[t, v] += w.excess[t, 0] * w.PS[t, v]
    masked(w.decay, w.similarity, w.system)
    for t in range(size):
        for i in range(t):
            w.system[t, i] *= rate[t]
        for v in range(width):
            w.E[t, v] = w.a[t, v] - rate[t] * w.u[t, v]
    solve_unit_lower(w.system, w.E)


@kernel()
def weighted_rows(weights, rows, out):  # type: ignore[no-untyped-def]
    """out[t] = weights[t] rows[t]."""
    for t in range(rows.shape[0]):
        for v in range(rows.shape[1]):
            out[t, v] = weights[t] * rows[t, v]


@kernel()
def add_weighted_rows(weights, rows, out):  # type: ignore[no-untyped-def]
    """out[t] += weights[t] rows[t]."""
    for t in range(rows.shape[0]):
        for v in range(rows.shape[1]):
            out[t, v] += weights[t] * rows[t, v]


@kernel()
def read_exact(Q, MT, ST, has_momentum, w, overlap, out):  # type: ignore[no-untyped-def]
    """out[t] = M_{t-1} q_t of a solved chunk; overlap (C, C) is workspace and becomes Q Kᵀ."""
    size = Q.shape[0]
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


@Program
def forward(  # type: ignore[no-untyped-def]
    p,
    memory,
    keys,
    targets,
    probes,
    rate,
    retain,
    queries,
    momentum,
    velocity,
    chunk,
    residual,
    exact,
    states,
    velocities,
    final,
    speed,
    outputs,
):
    """One program's scan; `states` (S H, chunks, d_k, d_v) receives the transposed state at every chunk start if it has room."""
    memory, keys, targets, probes, rate, retain = memory[p], keys[p], targets[p], probes[p], rate[p], retain[p]
    queries, momentum, velocity, states, velocities, outputs = (
        queries[p],
        momentum[p],
        velocity[p],
        states[p],
        velocities[p],
        outputs[p],
    )
    tokens, width_k = keys.shape
    width_v = targets.shape[1]
    has_momentum, keep = momentum.shape[0] > 0, states.shape[0] > 0
    MT, ST = np.empty((width_k, width_v), memory.dtype), np.empty((width_k if has_momentum else 0, width_v), memory.dtype)
    transpose(memory, MT)
    if has_momentum:
        transpose(velocity, ST)
    w = new_work(min(chunk, tokens), width_k, width_v, has_momentum, memory)
    overlap = np.empty_like(w.similarity)
    for index in range((tokens + chunk - 1) // chunk):
        low, high = index * chunk, min(index * chunk + chunk, tokens)
        size = high - low
        if size != w.P.shape[0]:
            w = new_work(size, width_k, width_v, has_momentum, memory)
            overlap = np.empty_like(w.similarity)
        if keep:
            copy(MT, states[index])
            if has_momentum:
                copy(ST, velocities[index])
        K = keys[low:high]
        solve_chunk(
            K, targets[low:high], probes[low:high], rate[low:high], retain[low:high], momentum[low:high], MT, ST, residual, w
        )
        if queries.shape[0] > 0:
            if exact:
                read_exact(queries[low:high], MT, ST, has_momentum, w, overlap, outputs[low:high])
            else:
                gemm(1.0, queries[low:high], MT, 0.0, outputs[low:high])
        weighted_rows(w.decay[size, 1:], w.E, w.X)
        if has_momentum:
            add_weighted_rows(w.excess[size, 1:], w.a, w.X)
            for k in range(width_k):
                for v in range(width_v):
                    MT[k, v] = w.decay[size, 0] * MT[k, v] + w.excess[size, 0] * ST[k, v]
            gemm(1.0, K.T, w.X, 1.0, MT)
            weighted_rows(w.carry[size, 1:], w.a, w.X)
            gemm(1.0, K.T, w.X, w.carry[size, 0], ST)
        else:
            gemm(1.0, K.T, w.X, w.decay[size, 0], MT)
    transpose(MT, final[p])
    if has_momentum:
        transpose(ST, speed[p])


@kernel()
def read_exact_backward(K, Q, MT, ST, dO, has_momentum, w, r, dQ, dK, D, DS):  # type: ignore[no-untyped-def]
    """Add what reaches the chunk's tensors through its exact reads; starts dQ."""
    size = Q.shape[0]
    gemm(1.0, Q, MT, 0.0, w.X)
    for t in range(size):
        r.d_decay[t, 0] += dot(dO[t], w.X[t])
    weighted_rows(w.decay[:size, 0], dO, w.X)
    gemm(1.0, w.X, r.M0, 0.0, dQ)
    gemm(1.0, w.X.T, Q, 1.0, D)
    if has_momentum:
        gemm(1.0, Q, ST, 0.0, w.X)
        for t in range(size):
            r.d_excess[t, 0] += dot(dO[t], w.X[t])
        weighted_rows(w.excess[:size, 0], dO, w.X)
        gemm(1.0, w.X, r.S0, 1.0, dQ)
        gemm(1.0, w.X.T, Q, 1.0, DS)
    overlap, weights = np.empty_like(w.mask), np.empty_like(w.mask)
    gemm(1.0, Q, w.KT, 0.0, overlap)
    transpose(w.E, r.T)
    gemm(1.0, dO, r.T, 0.0, r.square)
    masked(w.decay, r.square, weights)
    for t in range(size):
        for i in range(t):
            r.d_decay[t, i + 1] += overlap[t, i] * r.square[t, i]
    masked(w.decay, overlap, w.mask)
    gemm(1.0, w.mask.T, dO, 1.0, r.dE)
    if has_momentum:
        transpose(w.a, r.T)
        gemm(1.0, dO, r.T, 0.0, r.square)
        masked(w.excess, r.square, w.mask)
        for t in range(size):
            for i in range(t):
                r.d_excess[t, i + 1] += overlap[t, i] * r.square[t, i]
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
    for v in range(D.shape[0]):
        r.d_decay[size, 0] += dot(D[v], r.M0[v])
    for i in range(size):
        r.d_decay[size, i + 1] = dot(w.E[i], r.Z[i])
    weighted_rows(w.decay[size, 1:], r.Z, r.dE)
    weighted_rows(w.decay[size, 1:], w.E, w.X)
    fill_zero(r.da)
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
    for v in range(D.shape[0]):
        r.d_excess[size, 0] += dot(D[v], r.S0[v])
        r.d_carry[size, 0] += dot(DS[v], r.S0[v])
    for i in range(size):
        r.d_excess[size, i + 1] = dot(w.a[i], r.Z[i])
        r.d_carry[size, i + 1] = dot(w.a[i], r.ZS[i])
    add_weighted_rows(w.excess[size, 1:], r.Z, r.da)
    add_weighted_rows(w.carry[size, 1:], r.ZS, r.da)
    for v in range(D.shape[0]):
        for k in range(D.shape[1]):
            velocity_part = w.excess[size, 0] * D[v, k] + w.carry[size, 0] * DS[v, k]
            D[v, k] *= w.decay[size, 0]
            DS[v, k] = velocity_part


@kernel()
def solve_backward(K, probes, rate, has_momentum, residual, w, r, dK, d_targets, d_probes, d_rate, D, DS):  # type: ignore[no-untyped-def]
    """Take dE and da back over `solve_chunk`."""
    size, width = w.E.shape
    solve_unit_lower_transposed(w.system, r.dE)
    transpose(w.E, r.T)
    gemm(-1.0, r.dE, r.T, 0.0, r.square)
    for t in range(size):
        for i in range(t):
            d_product = r.square[t, i] * w.similarity[t, i]
            d_rate[t] += d_product * w.decay[t, i + 1]
            r.d_decay[t, i + 1] += rate[t] * d_product
            r.d_similarity[t, i] = rate[t] * w.decay[t, i + 1] * r.square[t, i]
        d_rate[t] -= dot(r.dE[t], w.u[t])
        for v in range(width):
            r.da[t, v] += r.dE[t, v]
            r.du[t, v] = -rate[t] * r.dE[t, v]
        r.d_decay[t, 0] += dot(r.du[t], w.P[t])
    if has_momentum:
        transpose(w.a, r.T)
        gemm(1.0, r.du, r.T, 0.0, r.square)
        for t in range(size):
            for i in range(t):
                r.d_excess[t, i + 1] += w.similarity[t, i] * r.square[t, i]
                r.d_similarity[t, i] += w.excess[t, i + 1] * r.square[t, i]
            r.d_excess[t, 0] += dot(r.du[t], w.PS[t])
        masked(w.excess, w.similarity, w.mask)
        gemm(1.0, w.mask.T, r.du, 1.0, r.da)
        weighted_rows(w.excess[:size, 0], r.du, w.X)
        gemm(1.0, w.X, r.S0, 1.0, dK)
        gemm(1.0, w.X.T, K, 1.0, DS)
    predicted = rate.dtype.type(1 if residual == MINUS_PREDICTION else 0)
    for t in range(size):
        d_rate[t] += dot(r.da[t], w.R[t])
        for v in range(width):
            d_targets[t, v] = rate[t] * r.da[t, v]
            w.X[t, v] = w.decay[t, 0] * r.du[t, v] - predicted * d_targets[t, v]
    if residual == SELF_GENERATED:
        gemm(1.0, d_targets, r.M0, 0.0, d_probes)
        gemm(1.0, d_targets.T, probes, 1.0, D)
    gemm(1.0, w.X, r.M0, 1.0, dK)
    gemm(1.0, w.X.T, K, 1.0, D)
    for t in range(size):
        for i in range(t):
            r.square[t, i] = r.square[i, t] = r.d_similarity[t, i]
        r.square[t, t] = 0
    gemm(1.0, r.square, K, 1.0, dK)


@Program
def backward(  # type: ignore[no-untyped-def]
    p,
    keys,
    targets,
    probes,
    rate,
    retain,
    queries,
    momentum,
    chunk,
    residual,
    exact,
    states,
    velocities,
    d_outputs,
    D,
    DS,
    dK,
    dT,
    dprobes,
    d_rate,
    d_retain,
    dQ,
    d_momentum,
):
    """One program's gradients, last chunk first; D and DS enter as dM and dS of the end, leave as those of the start."""
    keys, targets, probes, rate, retain, queries, momentum = (
        keys[p],
        targets[p],
        probes[p],
        rate[p],
        retain[p],
        queries[p],
        momentum[p],
    )
    states, velocities, d_outputs, D, DS = states[p], velocities[p], d_outputs[p], D[p], DS[p]
    dK, dT, dprobes, d_rate, d_retain, dQ, d_momentum = dK[p], dT[p], dprobes[p], d_rate[p], d_retain[p], dQ[p], d_momentum[p]
    tokens, width_k = keys.shape
    width_v = targets.shape[1]
    has_momentum = momentum.shape[0] > 0
    w = new_work(min(chunk, tokens), width_k, width_v, has_momentum, keys)
    r = new_reverse(min(chunk, tokens), width_k, width_v, has_momentum, keys)
    for index in range((tokens + chunk - 1) // chunk - 1, -1, -1):
        low, high = index * chunk, min(index * chunk + chunk, tokens)
        if high - low != w.P.shape[0]:
            w = new_work(high - low, width_k, width_v, has_momentum, keys)
            r = new_reverse(high - low, width_k, width_v, has_momentum, keys)
        K, eta, alpha, mu, MT = keys[low:high], rate[low:high], retain[low:high], momentum[low:high], states[index]
        ST = velocities[index] if has_momentum else MT
        solve_chunk(K, targets[low:high], probes[low:high], eta, alpha, mu, MT, ST, residual, w)
        write_backward(K, MT, ST, has_momentum, w, r, dK[low:high], D, DS)
        if queries.shape[0] > 0:
            Q, dO = queries[low:high], d_outputs[low:high]
            if exact:
                read_exact_backward(K, Q, MT, ST, dO, has_momentum, w, r, dQ[low:high], dK[low:high], D, DS)
            else:
                gemm(1.0, dO, r.M0, 0.0, dQ[low:high])
                gemm(1.0, dO.T, Q, 1.0, D)
        for t in range(low, high):
            d_rate[t] = 0
            d_retain[t] = 0
        solve_backward(
            K,
            probes[low:high],
            eta,
            has_momentum,
            residual,
            w,
            r,
            dK[low:high],
            dT[low:high],
            dprobes[low:high],
            d_rate[low:high],
            D,
            DS,
        )
        if has_momentum:
            for t in range(low, high):
                d_momentum[t] = 0
            momentum_excess_backward(alpha, w.excess, r.d_excess, d_retain[low:high], r.d_carry)
            decay_products_backward(mu, w.carry, r.d_carry, d_momentum[low:high])
        decay_products_backward(alpha, w.decay, r.d_decay, d_retain[low:high])


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, memory, keys, targets, probes, rate, retain, queries, momentum, velocity, chunk, residual, exact):  # type: ignore[no-untyped-def]
        M, K, T, eta, alpha = (array(each, 2) for each in (memory, keys, targets, rate, retain))
        inputs = [K, T, optional(probes, K), eta, alpha, optional(queries, K), optional(momentum, eta)]
        S = optional(velocity, M)
        count, width_v, width_k = M.shape
        chunks = -(-keys.shape[2] // chunk) if any(ctx.needs_input_grad) else 0
        states = empty((count, chunks, width_k, width_v), M)
        velocities = empty((count, 0 if velocity is None else chunks, width_k, width_v), M)
        final, speed, outputs = empty(M.shape, M), empty(S.shape, M), empty((count, inputs[5].shape[1], width_v), M)
        forward(count, M, *inputs, S, chunk, residual, exact, states, velocities, final, speed, outputs)
        ctx.inputs, ctx.options, ctx.states = inputs, (chunk, residual, exact), (states, velocities)
        ctx.shapes = [
            None if each is None else each.shape
            for each in (memory, keys, targets, probes, rate, retain, queries, momentum, velocity)
        ]
        return (
            tensor(final, *memory.shape),
            None if queries is None else tensor(outputs, *targets.shape),
            None if velocity is None else tensor(speed, *memory.shape),
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, d_memory, d_outputs, d_velocity):  # type: ignore[no-untyped-def]
        D = array(d_memory, 2).copy()
        DS = optional(d_velocity, D).copy()
        gradients = [empty(each.shape, each) for each in ctx.inputs]
        backward(len(D), *ctx.inputs, *ctx.options, *ctx.states, optional(d_outputs, ctx.inputs[1]), D, DS, *gradients)
        shaped = zip((D, *gradients, DS), ctx.shapes, strict=True)
        return (*(None if shape is None else tensor(each, *shape) for each, shape in shaped), None, None, None)


def scan(
    memory: Tensor,
    keys: Tensor,
    targets: Tensor,
    rate: Tensor,
    retain: Tensor,
    chunk: int,
    residual: str,
    values: Tensor | None,
    queries: Tensor | None,
    read: str,
    momentum: Tensor | None,
    velocity: Tensor | None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Memory, outputs and velocity after all tokens; arguments as in `memory_scan`."""
    probes = None if values is None else values - keys
    chunk = max(1, min(chunk, keys.shape[2]))
    return _Scan.apply(
        memory, keys, targets, probes, rate, retain, queries, momentum, velocity, chunk, RESIDUALS[residual], read == "exact"
    )
