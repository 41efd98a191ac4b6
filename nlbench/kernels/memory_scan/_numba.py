"""The chunked scan on CPU cores: one program per seed and head, its state and workspace in cache."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.kernels.memory_scan._chunk import RESIDUALS, chunk_backward, new_reverse, new_work, read_exact, solve_chunk, write
from nlbench.kernels.programs import Program, array, empty, optional, tensor
from nlbench.kernels.tiles import copy, gemm, transpose


@Program
def forward(  # type: ignore[no-untyped-def]
    p, M, K, T, probes, rate, retain, Q, momentum, S, chunk, residual, exact, states, velocities, final, speed, outputs
):
    """One program's scan; `states` (S H, chunks, d_k, d_v) receives the transposed state at every chunk start if it has room."""
    tokens, width_k = K.shape[1:]
    width_v = T.shape[2]
    has_momentum, keep = momentum.shape[1] > 0, states.shape[1] > 0
    MT, ST = np.empty((width_k, width_v), M.dtype), np.empty((width_k if has_momentum else 0, width_v), M.dtype)
    transpose(M[p], MT)
    if has_momentum:
        transpose(S[p], ST)
    w = new_work(min(chunk, tokens), width_k, width_v, has_momentum, M)
    for index in range((tokens + chunk - 1) // chunk):
        low, high = index * chunk, min(index * chunk + chunk, tokens)
        if high - low != w.P.shape[0]:
            w = new_work(high - low, width_k, width_v, has_momentum, M)
        if keep:
            copy(MT, states[p, index])
            if has_momentum:
                copy(ST, velocities[p, index])
        k, eta, alpha, mu = K[p, low:high], rate[p, low:high], retain[p, low:high], momentum[p, low:high]
        solve_chunk(k, T[p, low:high], probes[p, low:high], eta, alpha, mu, MT, ST, residual, w)
        if Q.shape[1] > 0:
            if exact:
                read_exact(Q[p, low:high], MT, ST, has_momentum, w, outputs[p, low:high])
            else:
                gemm(1.0, Q[p, low:high], MT, 0.0, outputs[p, low:high])
        write(k, has_momentum, w, MT, ST)
    transpose(MT, final[p])
    if has_momentum:
        transpose(ST, speed[p])


@Program
def backward(  # type: ignore[no-untyped-def]
    p,
    K,
    T,
    probes,
    rate,
    retain,
    Q,
    momentum,
    chunk,
    residual,
    exact,
    states,
    velocities,
    dO,
    D,
    DS,
    dK,
    dT,
    dV,
    d_rate,
    d_retain,
    dQ,
    dmu,
):
    """One program's gradients, last chunk first; D and DS enter as dM and dS of the end, leave as those of the start."""
    tokens, width_k = K.shape[1:]
    width_v, has_momentum = T.shape[2], momentum.shape[1] > 0
    w = new_work(min(chunk, tokens), width_k, width_v, has_momentum, K)
    r = new_reverse(min(chunk, tokens), width_k, width_v, has_momentum, K)
    for index in range((tokens + chunk - 1) // chunk - 1, -1, -1):
        low, high = index * chunk, min(index * chunk + chunk, tokens)
        if high - low != w.P.shape[0]:
            w = new_work(high - low, width_k, width_v, has_momentum, K)
            r = new_reverse(high - low, width_k, width_v, has_momentum, K)
        k, p_, eta, alpha, mu = K[p, low:high], probes[p, low:high], rate[p, low:high], retain[p, low:high], momentum[p, low:high]
        MT = states[p, index]
        ST = velocities[p, index] if has_momentum else MT
        solve_chunk(k, T[p, low:high], p_, eta, alpha, mu, MT, ST, residual, w)
        q, do, dk, dt, dv = Q[p, low:high], dO[p, low:high], dK[p, low:high], dT[p, low:high], dV[p, low:high]
        de, da, dm, dq = d_rate[p, low:high], d_retain[p, low:high], dmu[p, low:high], dQ[p, low:high]
        chunk_backward(k, p_, eta, alpha, mu, q, MT, ST, do, residual, exact, w, r, dk, dt, dv, de, da, dm, dq, D[p], DS[p])


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
    probes: Tensor | None,
    queries: Tensor | None,
    read: str,
    momentum: Tensor | None = None,
    velocity: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Memory, outputs and velocity after all tokens; arguments as in `memory_scan`, but for probes: its values less the keys."""
    chunk = max(1, min(chunk, keys.shape[2]))
    return _Scan.apply(
        memory, keys, targets, probes, rate, retain, queries, momentum, velocity, chunk, RESIDUALS[residual], read == "exact"
    )
