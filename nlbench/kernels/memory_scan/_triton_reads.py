"""The gradients of a chunked scan's reads as Triton kernels, every tile by itself: what the chain of ∂M waits for, and the rest.

Letters as in `_triton_forward` and `_triton_backward`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import (
    STALE,
    gate_products,
    gates_backward,
    load_gates,
    load_rows,
    product,
    store_gates,
    store_rows,
    tile_span,
)
from nlbench.kernels.memory_scan._triton_backward import momentum_gradients
from nlbench.kernels.memory_scan._triton_forward import (
    LENGTHS,
    load_gate_products,
    load_probes,
    load_residual,
    momentum_excess,
    own_tile,
)


@triton.jit(do_not_specialize=LENGTHS)
def read_backward(
    keys,
    queries,
    retain,
    momentum,
    speed_before,
    d_outputs,
    errors,
    writes,
    ends,
    velocity_ends,
    tokens,
    chunk,
    per_chunk,
    tiles,
    K: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    READ: tl.constexpr,
    MOMENTUM: tl.constexpr,
    LOW: tl.constexpr,
):
    """What one tile's reads mean to the states it reads and, if they are exact, to its errors E and with momentum its writes η R.

    What they mean to states is left in `ends` and `velocity_ends` for `reverse`.
    """
    slices: tl.constexpr = (V + BV - 1) // BV
    v = (tl.program_id(0) % slices) * BV
    number = (tl.program_id(0) // slices).to(tl.int64)
    start, stop = tile_span(tl.program_id(0) // slices % tiles, tokens, chunk, per_chunk, C)
    rows = number // tiles * tokens
    q = load_rows(queries + rows * K, start, stop, 0, K, C, BK)
    do = load_rows(d_outputs + rows * V, start, stop, v, V, C, BV)
    if READ == STALE:
        store_rows(ends + number * K * V, product(tl.trans(q), do, LOW), 0, K, v, V, BK, BV)
    else:
        k = load_rows(keys + rows * K, start, stop, 0, K, C, BK)
        between, before, _, _ = load_gate_products(retain + rows, start, stop, C, LOW)
        store_rows(ends + number * K * V, product(tl.trans(q), before[:, None] * do, LOW), 0, K, v, V, BK, BV)
        overlap = product(k, tl.trans(q), LOW)
        store_rows(errors + rows * V, product(tl.trans(between) * overlap, do, LOW), start, stop, v, V, C, BV)
        if MOMENTUM:
            c_before = load_gates(speed_before + rows, start, stop, 0.0, C)
            store_rows(velocity_ends + number * K * V, product(tl.trans(q), c_before[:, None] * do, LOW), 0, K, v, V, BK, BV)
            excess = momentum_excess(momentum + rows, start, stop, between, C, LOW)
            store_rows(writes + rows * V, product(tl.trans(excess) * overlap, do, LOW), start, stop, v, V, C, BV)


@triton.jit(do_not_specialize=LENGTHS)
def query_gradients(
    keys,
    targets,
    probes,
    queries,
    rate,
    retain,
    momentum,
    E,
    speed_before,
    memories,
    velocities,
    d_outputs,
    d_keys,
    d_queries,
    d_tokens,
    tokens,
    chunk,
    per_chunk,
    tiles,
    K: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    RESIDUAL: tl.constexpr,
    READ: tl.constexpr,
    MOMENTUM: tl.constexpr,
    LOW: tl.constexpr,
):
    """What one tile's reads mean to its queries and, if they are exact, to its keys and gates.

    d_tokens (programs, 8, tokens) takes what reaches α and, with momentum, μ in rows 6 and 7.
    """
    program, tile, start, stop = own_tile(tl.program_id(0), tokens, chunk, per_chunk, tiles, C)
    rows, block = program * tokens, (program * tiles + tile) * K * V
    frozen = block - (tile % per_chunk) * K * V
    d_q = tl.zeros((C, BK), tl.float32)
    if READ == STALE:
        for v in range(0, V, BV):
            do = load_rows(d_outputs + rows * V, start, stop, v, V, C, BV)
            d_q += product(do, tl.trans(load_rows(memories + frozen, 0, K, v, V, BK, BV)), LOW)
    else:
        k = load_rows(keys + rows * K, start, stop, 0, K, C, BK)
        d_weights = tl.zeros((C, C), tl.float32)
        if MOMENTUM:
            eta = load_gates(rate + rows, start, stop, 0.0, C)
            probe = load_probes(probes + rows * K, k, start, stop, K, C, BK, RESIDUAL)
            d_reading, d_speed = tl.zeros((C, C), tl.float32), tl.zeros((C, BK), tl.float32)
        for v in range(0, V, BV):
            do = load_rows(d_outputs + rows * V, start, stop, v, V, C, BV)
            d_weights += product(do, tl.trans(load_rows(E + rows * V, start, stop, v, V, C, BV)), LOW)
            d_q += product(do, tl.trans(load_rows(memories + block, 0, K, v, V, BK, BV)), LOW)
            if MOMENTUM:
                a = eta[:, None] * load_residual(
                    targets + rows * V, memories + frozen, k, probe, start, stop, v, K, V, C, BK, BV, RESIDUAL, LOW
                )
                d_reading += product(do, tl.trans(a), LOW)
                d_speed += product(do, tl.trans(load_rows(velocities + block, 0, K, v, V, BK, BV)), LOW)
        token = tl.arange(0, C)
        lower = token[:, None] > token[None, :]
        q = load_rows(queries + rows * K, start, stop, 0, K, C, BK)
        alpha = load_gates(retain + rows, start, stop, 1.0, C)
        between, before, after, _ = gate_products(alpha, C, LOW)
        overlap = product(q, tl.trans(k), LOW)
        d_between, d_overlap = tl.where(lower, d_weights * overlap, 0.0), between * d_weights
        held = d_overlap * overlap
        d_before, d_after, none = tl.sum(q * d_q, 1), tl.zeros((C,), tl.float32), tl.sum(before * 0, 0)
        d_q *= before[:, None]
        if MOMENTUM:
            c_before, d_c_before = load_gates(speed_before + rows, start, stop, 0.0, C), tl.sum(q * d_speed, 1)
            d_q += c_before[:, None] * d_speed
            d_overlap += momentum_excess(momentum + rows, start, stop, between, C, LOW) * d_reading
            d_excess = tl.where(lower, d_reading * overlap, 0.0)
            more_between, d_after, d_mu = momentum_gradients(
                momentum + rows, start, stop, between, after, d_excess, d_c_before, d_after, none, d_after, none, C, LOW
            )
            d_between += more_between
            held += between * more_between
            store_gates(d_tokens + (8 * program + 7) * tokens, d_mu, start, stop, C)
        d_alpha = gates_backward(alpha, between, before, after, d_between, held, d_before, d_after, none, C, LOW)
        store_gates(d_tokens + (8 * program + 6) * tokens, d_alpha, start, stop, C)
        d_q += product(d_overlap, k, LOW)
        store_rows(d_keys + rows * K, product(tl.trans(d_overlap), q, LOW), start, stop, 0, K, C, BK)
    store_rows(d_queries + rows * K, d_q, start, stop, 0, K, C, BK)
