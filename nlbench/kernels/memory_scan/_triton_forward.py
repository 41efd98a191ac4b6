"""The chunked scan as Triton kernels, parallel over tiles of tokens wherever the state is not needed.

Every tile's errors are linear in the states at its start: E = U - W Mᵀ - X Fᵀ - Y Sᵀ, with F the state at the chunk start and S
the velocity. `prepare` makes U, W, X, Y for all tiles at once, `states` runs the short chain M -> E -> M, and `read` answers.
Backward, `reverse` runs the chain of D = ∂M with the same W, X, Y, and `gradients` takes every tile back by itself. States are
stored transposed, (d_k, d_v), at every tile start. Residual r = targets + N Fᵀ with N = 0, -K or probes.

Per program and tile of C tokens: `2 C² (2 d_k + d_v) + ⅔ C³` multiply-adds in parallel and `2 C d_k d_v` in the chain.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import (
    GIVEN,
    MINUS_PREDICTION,
    SELF_GENERATED,
    STALE,
    gate_products,
    load_gates,
    load_rows,
    mask_product,
    product,
    store_gates,
    store_rows,
    tile_span,
    unit_lower_inverse,
)

LENGTHS = ("tokens", "chunk", "per_chunk", "tiles")


@triton.jit
def carried(momentum, start, stop, C: tl.constexpr, LOW: tl.constexpr):
    """Γ_μ on and below the diagonal and its column before the tile; zero in the rows of padding, which carries nothing."""
    token = tl.arange(0, C)
    gate = load_gates(momentum, start, stop, 1.0, C)
    between, before, _, _ = gate_products(gate, C, LOW)
    carry = tl.where(token[:, None] == token[None, :], 1.0, gate[:, None] * between)
    valid = start + token < stop
    return tl.where(valid[:, None], carry, 0.0), tl.where(valid, gate * before, 0.0)


@triton.jit
def residual_rows(target, k, probe, f, RESIDUAL: tl.constexpr, LOW: tl.constexpr):
    """R of the tile's tokens."""
    if RESIDUAL == MINUS_PREDICTION:
        return target - product(k, f, LOW)
    elif RESIDUAL == SELF_GENERATED:
        return target + product(probe, f, LOW)
    else:
        return target


@triton.jit(do_not_specialize=LENGTHS)
def prepare(
    keys,
    targets,
    probes,
    rate,
    retain,
    momentum,
    U,
    W,
    X,
    Y,
    solved,
    speed_before,
    speed_after,
    befores,
    afters,
    totals,
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
    FROZEN: tl.constexpr,
    MOMENTUM: tl.constexpr,
    LOW: tl.constexpr,
):
    """U, W, X, Y, T, γ̄, s and γ_C of one tile; with momentum also c̄ and what it adds to every write by the tile's end."""
    program = (tl.program_id(0) // tiles).to(tl.int64)
    start, stop = tile_span(tl.program_id(0) % tiles, tokens, chunk, per_chunk, C)
    rows = program * tokens
    k = load_rows(keys + rows * K, start, stop, 0, K, C, BK)
    eta = load_gates(rate + rows, start, stop, 0.0, C)
    between, before, after, total = gate_products(load_gates(retain + rows, start, stop, 1.0, C), C, LOW)
    store_gates(befores + rows, before, start, stop, C)
    store_gates(afters + rows, after, start, stop, C)
    tl.store(totals + tl.program_id(0), total)
    similarity = product(k, tl.trans(k), LOW)
    inverse = unit_lower_inverse(eta[:, None] * between * similarity, C, LOW)
    store_rows(solved + tl.program_id(0).to(tl.int64) * C * C, inverse, 0, C, 0, C, C, C)
    inverse *= eta[None, :]
    w = product(inverse, before[:, None] * k, LOW)
    front = inverse
    if MOMENTUM:
        carry, column = carried(momentum + rows, start, stop, C, LOW)
        c_before = tl.sum(between * column[None, :], 1)
        store_gates(speed_before + rows, c_before, start, stop, C)
        store_gates(speed_after + rows, tl.sum(after[:, None] * carry, 0) - after, start, stop, C)
        excess = mask_product(between, carry, LOW) - between
        front -= mask_product(inverse, excess * similarity, LOW) * eta[None, :]
        store_rows(Y + rows * K, product(inverse, c_before[:, None] * k, LOW), start, stop, 0, K, C, BK)
    if RESIDUAL != GIVEN:
        if RESIDUAL == MINUS_PREDICTION:
            x = product(front, k, LOW)
        else:
            x = -product(front, load_rows(probes + rows * K, start, stop, 0, K, C, BK), LOW)
        if FROZEN:
            store_rows(X + rows * K, x, start, stop, 0, K, C, BK)
        else:
            w += x
    store_rows(W + rows * K, w, start, stop, 0, K, C, BK)
    for v in range(0, V, BV):
        target = load_rows(targets + rows * V, start, stop, v, V, C, BV)
        store_rows(U + rows * V, product(front, target, LOW), start, stop, v, V, C, BV)


@triton.jit(do_not_specialize=LENGTHS)
def states(
    memory,
    velocity,
    keys,
    targets,
    probes,
    rate,
    retain,
    momentum,
    U,
    W,
    X,
    Y,
    speed_after,
    afters,
    totals,
    memories,
    velocities,
    final,
    speed,
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
    FROZEN: tl.constexpr,
    MOMENTUM: tl.constexpr,
    LOW: tl.constexpr,
):
    """The chain of BV rows of the memory: its state at every tile start and at the end. U becomes E."""
    slices: tl.constexpr = (V + BV - 1) // BV
    program = (tl.program_id(0) // slices).to(tl.int64)
    v = (tl.program_id(0) % slices) * BV
    rows, first = program * tokens, program * K * V
    m = load_rows(memory + first, 0, K, v, V, BK, BV)
    f, s = m, m
    if MOMENTUM:
        s = load_rows(velocity + first, 0, K, v, V, BK, BV)
    for tile in range(tiles):
        start, stop = tile_span(tile, tokens, chunk, per_chunk, C)
        block = (program * tiles + tile) * K * V
        store_rows(memories + block, m, 0, K, v, V, BK, BV)
        f = tl.where(tile % per_chunk == 0, m, f)
        e = load_rows(U + rows * V, start, stop, v, V, C, BV)
        e -= product(load_rows(W + rows * K, start, stop, 0, K, C, BK), m, LOW)
        if FROZEN and RESIDUAL != GIVEN:
            e -= product(load_rows(X + rows * K, start, stop, 0, K, C, BK), f, LOW)
        if MOMENTUM:
            store_rows(velocities + block, s, 0, K, v, V, BK, BV)
            e -= product(load_rows(Y + rows * K, start, stop, 0, K, C, BK), s, LOW)
        store_rows(U + rows * V, e, start, stop, v, V, C, BV)
        k = load_rows(keys + rows * K, start, stop, 0, K, C, BK)
        after, total = load_gates(afters + rows, start, stop, 0.0, C), tl.load(totals + program * tiles + tile)
        write = after[:, None] * e
        if MOMENTUM:
            probe = k
            if RESIDUAL == SELF_GENERATED:
                probe = load_rows(probes + rows * K, start, stop, 0, K, C, BK)
            target = load_rows(targets + rows * V, start, stop, v, V, C, BV)
            eta = load_gates(rate + rows, start, stop, 0.0, C)
            a = eta[:, None] * residual_rows(target, k, probe, f, RESIDUAL, LOW)
            _, column = carried(momentum + rows, start, stop, C, LOW)
            write += load_gates(speed_after + rows, start, stop, 0.0, C)[:, None] * a
            _, _, mu_after, mu_total = gate_products(load_gates(momentum + rows, start, stop, 1.0, C), C, LOW)
            m = total * m + tl.sum(after * column, 0) * s + product(tl.trans(k), write, LOW)
            s = mu_total * s + product(tl.trans(k), mu_after[:, None] * a, LOW)
        else:
            m = total * m + product(tl.trans(k), write, LOW)
    store_rows(final + first, m, 0, K, v, V, BK, BV)
    if MOMENTUM:
        store_rows(speed + first, s, 0, K, v, V, BK, BV)


@triton.jit(do_not_specialize=LENGTHS)
def read(
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
    outputs,
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
    """What BV rows of the memory answer to one tile's queries."""
    slices: tl.constexpr = (V + BV - 1) // BV
    v = (tl.program_id(0) % slices) * BV
    tile = tl.program_id(0) // slices % tiles
    program = (tl.program_id(0) // slices // tiles).to(tl.int64)
    start, stop = tile_span(tile, tokens, chunk, per_chunk, C)
    rows, block = program * tokens, (program * tiles + tile) * K * V
    frozen = block - (tile % per_chunk) * K * V
    q = load_rows(queries + rows * K, start, stop, 0, K, C, BK)
    if READ == STALE:
        out = product(q, load_rows(memories + frozen, 0, K, v, V, BK, BV), LOW)
    else:
        k = load_rows(keys + rows * K, start, stop, 0, K, C, BK)
        between, before, _, _ = gate_products(load_gates(retain + rows, start, stop, 1.0, C), C, LOW)
        overlap = product(q, tl.trans(k), LOW)
        e = load_rows(E + rows * V, start, stop, v, V, C, BV)
        out = before[:, None] * product(q, load_rows(memories + block, 0, K, v, V, BK, BV), LOW)
        out += product(between * overlap, e, LOW)
        if MOMENTUM:
            probe = k
            if RESIDUAL == SELF_GENERATED:
                probe = load_rows(probes + rows * K, start, stop, 0, K, C, BK)
            target = load_rows(targets + rows * V, start, stop, v, V, C, BV)
            f = load_rows(memories + frozen, 0, K, v, V, BK, BV)
            eta = load_gates(rate + rows, start, stop, 0.0, C)
            a = eta[:, None] * residual_rows(target, k, probe, f, RESIDUAL, LOW)
            carry, _ = carried(momentum + rows, start, stop, C, LOW)
            c_before = load_gates(speed_before + rows, start, stop, 0.0, C)
            out += c_before[:, None] * product(q, load_rows(velocities + block, 0, K, v, V, BK, BV), LOW)
            out += product((mask_product(between, carry, LOW) - between) * overlap, a, LOW)
    store_rows(outputs + rows * V, out, start, stop, v, V, C, BV)
