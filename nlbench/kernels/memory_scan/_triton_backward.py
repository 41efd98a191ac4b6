"""The chunked scan's gradients as Triton kernels: a short chain of ∂M from tile to tile, then every tile by itself, in two passes
of which each fits the registers.

Letters as in `_triton_forward`; D and DS are the gradients of memory and velocity, stored transposed at every tile's end.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import (
    EXACT,
    GIVEN,
    MINUS_PREDICTION,
    NO_READ,
    SELF_GENERATED,
    STALE,
    gate_products,
    load_gates,
    load_rows,
    mask_product,
    product,
    products_backward,
    store_gates,
    store_rows,
    tile_span,
)
from nlbench.kernels.memory_scan._triton_forward import LENGTHS, carried, residual_rows


@triton.jit(do_not_specialize=LENGTHS)
def read_backward(
    keys,
    queries,
    retain,
    momentum,
    d_outputs,
    errors,
    writes,
    tokens,
    chunk,
    per_chunk,
    tiles,
    K: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    MOMENTUM: tl.constexpr,
    LOW: tl.constexpr,
):
    """What reaches one tile's errors E, and with momentum its writes η R, through exact reads."""
    slices: tl.constexpr = (V + BV - 1) // BV
    v = (tl.program_id(0) % slices) * BV
    program = (tl.program_id(0) // slices // tiles).to(tl.int64)
    start, stop = tile_span(tl.program_id(0) // slices % tiles, tokens, chunk, per_chunk, C)
    rows = program * tokens
    k = load_rows(keys + rows * K, start, stop, 0, K, C, BK)
    q = load_rows(queries + rows * K, start, stop, 0, K, C, BK)
    do = load_rows(d_outputs + rows * V, start, stop, v, V, C, BV)
    between, _, _, _ = gate_products(load_gates(retain + rows, start, stop, 1.0, C), C, LOW)
    overlap = product(k, tl.trans(q), LOW)
    store_rows(errors + rows * V, product(tl.trans(between) * overlap, do, LOW), start, stop, v, V, C, BV)
    if MOMENTUM:
        carry, _ = carried(momentum + rows, start, stop, C, LOW)
        excess = mask_product(between, carry, LOW) - between
        store_rows(writes + rows * V, product(tl.trans(excess) * overlap, do, LOW), start, stop, v, V, C, BV)


@triton.jit(do_not_specialize=LENGTHS)
def reverse(
    d_memory,
    d_velocity,
    keys,
    probes,
    queries,
    rate,
    retain,
    momentum,
    W,
    X,
    Y,
    speed_before,
    speed_after,
    befores,
    afters,
    totals,
    d_outputs,
    errors,
    writes,
    ends,
    velocity_ends,
    d_first,
    d_first_velocity,
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
    FROZEN: tl.constexpr,
    MOMENTUM: tl.constexpr,
    LOW: tl.constexpr,
):
    """The chain of BV rows of D, last tile first, and every ∂E; FROZEN: what reaches F waits for the chunk's first tile."""
    slices: tl.constexpr = (V + BV - 1) // BV
    program = (tl.program_id(0) // slices).to(tl.int64)
    v = (tl.program_id(0) % slices) * BV
    rows, first = program * tokens, program * K * V
    d = load_rows(d_memory + first, 0, K, v, V, BK, BV)
    waiting = tl.zeros((BK, BV), tl.float32)
    ds = waiting
    if MOMENTUM:
        ds = load_rows(d_velocity + first, 0, K, v, V, BK, BV)
    for back in range(tiles):
        tile = tiles - 1 - back
        start, stop = tile_span(tile, tokens, chunk, per_chunk, C)
        block = (program * tiles + tile) * K * V
        store_rows(ends + block, d, 0, K, v, V, BK, BV)
        k = load_rows(keys + rows * K, start, stop, 0, K, C, BK)
        after, total = load_gates(afters + rows, start, stop, 0.0, C), tl.load(totals + program * tiles + tile)
        z = product(k, d, LOW)
        de = after[:, None] * z
        to_f = tl.zeros((BK, BV), tl.float32)
        to_d = total * d
        if READ != NO_READ:
            q = load_rows(queries + rows * K, start, stop, 0, K, C, BK)
            do = load_rows(d_outputs + rows * V, start, stop, v, V, C, BV)
            if READ == STALE:
                to_f += product(tl.trans(q), do, LOW)
            else:
                de += load_rows(errors + rows * V, start, stop, v, V, C, BV)
                before = load_gates(befores + rows, start, stop, 0.0, C)
                to_d += product(tl.trans(q), before[:, None] * do, LOW)
        store_rows(errors + rows * V, de, start, stop, v, V, C, BV)
        to_d -= product(tl.trans(load_rows(W + rows * K, start, stop, 0, K, C, BK)), de, LOW)
        if FROZEN and RESIDUAL != GIVEN:
            to_f -= product(tl.trans(load_rows(X + rows * K, start, stop, 0, K, C, BK)), de, LOW)
        if MOMENTUM:
            store_rows(velocity_ends + block, ds, 0, K, v, V, BK, BV)
            _, _, mu_after, mu_total = gate_products(load_gates(momentum + rows, start, stop, 1.0, C), C, LOW)
            da = load_gates(speed_after + rows, start, stop, 0.0, C)[:, None] * z + mu_after[:, None] * product(k, ds, LOW)
            _, column = carried(momentum + rows, start, stop, C, LOW)
            ds = mu_total * ds + tl.sum(after * column, 0) * d
            ds -= product(tl.trans(load_rows(Y + rows * K, start, stop, 0, K, C, BK)), de, LOW)
            if READ == EXACT:
                da += load_rows(writes + rows * V, start, stop, v, V, C, BV)
                c_before = load_gates(speed_before + rows, start, stop, 0.0, C)
                ds += product(tl.trans(q), c_before[:, None] * do, LOW)
            dr = load_gates(rate + rows, start, stop, 0.0, C)[:, None] * da
            if RESIDUAL == MINUS_PREDICTION:
                to_f -= product(tl.trans(k), dr, LOW)
            elif RESIDUAL == SELF_GENERATED:
                to_f += product(tl.trans(load_rows(probes + rows * K, start, stop, 0, K, C, BK)), dr, LOW)
        if FROZEN:
            waiting += to_f
            d = tl.where(tile % per_chunk == 0, to_d + waiting, to_d)
            waiting = tl.where(tile % per_chunk == 0, 0.0, waiting)
        else:
            d = to_d + to_f
    store_rows(d_first + first, d, 0, K, v, V, BK, BV)
    if MOMENTUM:
        store_rows(d_first_velocity + first, ds, 0, K, v, V, BK, BV)


@triton.jit
def momentum_gradients(
    momentum,
    start,
    stop,
    between,
    after,
    d_excess,
    d_c_before,
    d_speed_after,
    d_c_total,
    d_mu_after,
    d_mu_total,
    C,
    LOW: tl.constexpr,
):
    """What reaches Λ and s through the masks of momentum, and the gradient of μ.

    With W the excess: W = Λ Γ_μ - Λ, c̄ = Λ γ_μ, what a write adds by the tile's end Γ_μᵀ s - s, and c_C = s · γ_μ.
    """
    token = tl.arange(0, C)
    gate = load_gates(momentum, start, stop, 1.0, C)
    mu_between, mu_before, mu_after, _ = gate_products(gate, C, LOW)
    carry, column = carried(momentum, start, stop, C, LOW)
    d_between = mask_product(d_excess, tl.trans(carry), LOW) - d_excess + d_c_before[:, None] * column[None, :]
    d_after = tl.sum(carry * d_speed_after[None, :], 1) - d_speed_after + column * d_c_total
    d_carry = mask_product(tl.trans(between), d_excess, LOW) + after[:, None] * d_speed_after[None, :]
    d_column = tl.sum(between * d_c_before[:, None], 0) + after * d_c_total
    valid = start + token < stop
    d_carry = tl.where((token[:, None] > token[None, :]) & valid[:, None], d_carry, 0.0)
    d_column = tl.where(valid, d_column, 0.0)
    d_mu = tl.sum(d_carry * mu_between, 1) + d_column * mu_before
    d_mu += products_backward(
        mu_between, mu_before, mu_after, gate[:, None] * d_carry, gate * d_column, d_mu_after, d_mu_total, LOW
    )
    return tl.where(token[:, None] > token[None, :], d_between, 0.0), d_after, d_mu


@triton.jit(do_not_specialize=LENGTHS)
def gradients(
    keys,
    targets,
    probes,
    queries,
    rate,
    retain,
    momentum,
    solved,
    E,
    errors,
    memories,
    velocities,
    ends,
    velocity_ends,
    d_outputs,
    befores,
    afters,
    speed_before,
    speed_after,
    d_keys,
    d_targets,
    d_probes,
    d_queries,
    d_tokens,
    d_tiles,
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
    """What reaches one tile's tokens through the states, all rows of the memory in turn.

    d_tokens (programs, 6, tokens) and d_tiles (programs, tiles, 3) take what reaches numbers of a token (η, γ̄, s, and momentum's
    c̄, writes by the end and s) and of a tile (γ_C, and momentum's c_C and γ_C).
    """
    tile = tl.program_id(0) % tiles
    program = (tl.program_id(0) // tiles).to(tl.int64)
    start, stop = tile_span(tile, tokens, chunk, per_chunk, C)
    rows, block = program * tokens, (program * tiles + tile) * K * V
    frozen = block - (tile % per_chunk) * K * V
    k = load_rows(keys + rows * K, start, stop, 0, K, C, BK)
    eta = load_gates(rate + rows, start, stop, 0.0, C)
    before, after = load_gates(befores + rows, start, stop, 0.0, C), load_gates(afters + rows, start, stop, 0.0, C)
    inverse = load_rows(solved + (program * tiles + tile) * C * C, 0, C, 0, C, C, C)
    d_k = tl.zeros((C, BK), tl.float32)
    probe, d_probe, q, d_q = k, d_k, k, d_k
    if RESIDUAL == SELF_GENERATED:
        probe = load_rows(probes + rows * K, start, stop, 0, K, C, BK)
    if READ != NO_READ:
        q = load_rows(queries + rows * K, start, stop, 0, K, C, BK)
    d_eta, d_before, d_after, d_total = eta * 0, eta * 0, eta * 0, tl.sum(eta * 0, 0)
    if MOMENTUM:
        between, _, _, _ = gate_products(load_gates(retain + rows, start, stop, 1.0, C), C, LOW)
        carry, _ = carried(momentum + rows, start, stop, C, LOW)
        excess = mask_product(between, carry, LOW) - between
        crossed = excess * product(k, tl.trans(k), LOW)
        c_before, written = (
            load_gates(speed_before + rows, start, stop, 0.0, C),
            load_gates(speed_after + rows, start, stop, 0.0, C),
        )
        _, _, mu_after, _ = gate_products(load_gates(momentum + rows, start, stop, 1.0, C), C, LOW)
        d_c_before, d_written, d_mu_after = eta * 0, eta * 0, eta * 0
        d_c_total, d_mu_total = tl.sum(eta * 0, 0), tl.sum(eta * 0, 0)
    for v in range(0, V, BV):
        m = load_rows(memories + block, 0, K, v, V, BK, BV)
        f = m
        if RESIDUAL != GIVEN or READ == STALE:
            f = load_rows(memories + frozen, 0, K, v, V, BK, BV)
        d = load_rows(ends + block, 0, K, v, V, BK, BV)
        e = load_rows(E + rows * V, start, stop, v, V, C, BV)
        r = residual_rows(load_rows(targets + rows * V, start, stop, v, V, C, BV), k, probe, f, RESIDUAL, LOW)
        prediction = product(k, m, LOW)
        gap = r - before[:, None] * prediction
        z = product(k, d, LOW)
        dy = product(tl.trans(inverse), load_rows(errors + rows * V, start, stop, v, V, C, BV), LOW)
        dr = eta[:, None] * dy
        if MOMENTUM:
            s = load_rows(velocities + block, 0, K, v, V, BK, BV)
            ds = load_rows(velocity_ends + block, 0, K, v, V, BK, BV)
            a = eta[:, None] * r
            speed, pull = product(k, s, LOW), product(k, ds, LOW)
            gap -= c_before[:, None] * speed + product(crossed, a, LOW)
            da = written[:, None] * z + mu_after[:, None] * pull - product(tl.trans(crossed), dr, LOW)
            d_k += product(written[:, None] * a, tl.trans(d), LOW) + product(mu_after[:, None] * a, tl.trans(ds), LOW)
            d_k -= product(c_before[:, None] * dr, tl.trans(s), LOW)
            d_c_before -= tl.sum(dr * speed, 1)
            d_written += tl.sum(a * z, 1)
            d_mu_after += tl.sum(a * pull, 1)
            d_c_total += tl.sum(tl.sum(d * s, 1), 0)
            d_mu_total += tl.sum(tl.sum(ds * s, 1), 0)
        d_eta += tl.sum(dy * gap, 1)
        d_before -= tl.sum(dr * prediction, 1)
        d_after += tl.sum(e * z, 1)
        d_total += tl.sum(tl.sum(d * m, 1), 0)
        d_k += product(after[:, None] * e, tl.trans(d), LOW) - product(before[:, None] * dr, tl.trans(m), LOW)
        if READ != NO_READ:
            do = load_rows(d_outputs + rows * V, start, stop, v, V, C, BV)
            if READ == STALE:
                d_q += product(do, tl.trans(f), LOW)
            else:
                d_before += tl.sum(do * product(q, m, LOW), 1)
                d_q += product(before[:, None] * do, tl.trans(m), LOW)
                if MOMENTUM:
                    da += product(tl.trans(excess * product(q, tl.trans(k), LOW)), do, LOW)
                    d_c_before += tl.sum(do * product(q, s, LOW), 1)
                    d_q += product(c_before[:, None] * do, tl.trans(s), LOW)
        if MOMENTUM:
            d_eta += tl.sum(da * r, 1)
            dr += eta[:, None] * da
        store_rows(d_targets + rows * V, dr, start, stop, v, V, C, BV)
        if RESIDUAL == MINUS_PREDICTION:
            d_k -= product(dr, tl.trans(f), LOW)
        elif RESIDUAL == SELF_GENERATED:
            d_probe += product(dr, tl.trans(f), LOW)
    store_rows(d_keys + rows * K, d_k, start, stop, 0, K, C, BK)
    if RESIDUAL == SELF_GENERATED:
        store_rows(d_probes + rows * K, d_probe, start, stop, 0, K, C, BK)
    if READ != NO_READ:
        store_rows(d_queries + rows * K, d_q, start, stop, 0, K, C, BK)
    store_gates(d_tokens + 6 * rows, d_eta, start, stop, C)
    store_gates(d_tokens + 6 * rows + tokens, d_before, start, stop, C)
    store_gates(d_tokens + 6 * rows + 2 * tokens, d_after, start, stop, C)
    tl.store(d_tiles + 3 * tl.program_id(0), d_total)
    if MOMENTUM:
        store_gates(d_tokens + 6 * rows + 3 * tokens, d_c_before, start, stop, C)
        store_gates(d_tokens + 6 * rows + 4 * tokens, d_written, start, stop, C)
        store_gates(d_tokens + 6 * rows + 5 * tokens, d_mu_after, start, stop, C)
        tl.store(d_tiles + 3 * tl.program_id(0) + 1, d_c_total)
        tl.store(d_tiles + 3 * tl.program_id(0) + 2, d_mu_total)


@triton.jit(do_not_specialize=LENGTHS)
def mask_gradients(
    keys,
    targets,
    probes,
    queries,
    rate,
    retain,
    momentum,
    solved,
    E,
    errors,
    memories,
    d_outputs,
    d_tokens,
    d_tiles,
    d_keys,
    d_queries,
    d_rate,
    d_retain,
    d_momentum,
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
    """What reaches one tile's tokens through the masks between them, added to d_keys and d_queries."""
    tile = tl.program_id(0) % tiles
    program = (tl.program_id(0) // tiles).to(tl.int64)
    start, stop = tile_span(tile, tokens, chunk, per_chunk, C)
    rows, frozen = program * tokens, (program * tiles + tile - tile % per_chunk) * K * V
    token = tl.arange(0, C)
    lower = token[:, None] > token[None, :]
    k = load_rows(keys + rows * K, start, stop, 0, K, C, BK)
    eta = load_gates(rate + rows, start, stop, 0.0, C)
    inverse = load_rows(solved + (program * tiles + tile) * C * C, 0, C, 0, C, C, C)
    d_system, d_weights = tl.zeros((C, C), tl.float32), tl.zeros((C, C), tl.float32)
    if MOMENTUM:
        d_mask, d_reading = tl.zeros((C, C), tl.float32), tl.zeros((C, C), tl.float32)
        probe = k
        if RESIDUAL == SELF_GENERATED:
            probe = load_rows(probes + rows * K, start, stop, 0, K, C, BK)
    for v in range(0, V, BV):
        e = load_rows(E + rows * V, start, stop, v, V, C, BV)
        dy = product(tl.trans(inverse), load_rows(errors + rows * V, start, stop, v, V, C, BV), LOW)
        d_system -= product(dy, tl.trans(e), LOW)
        if READ == EXACT:
            do = load_rows(d_outputs + rows * V, start, stop, v, V, C, BV)
            d_weights += product(do, tl.trans(e), LOW)
        if MOMENTUM:
            f = load_rows(memories + frozen, 0, K, v, V, BK, BV)
            target = load_rows(targets + rows * V, start, stop, v, V, C, BV)
            a = eta[:, None] * residual_rows(target, k, probe, f, RESIDUAL, LOW)
            d_mask -= product(eta[:, None] * dy, tl.trans(a), LOW)
            if READ == EXACT:
                d_reading += product(do, tl.trans(a), LOW)
    between, before, after, _ = gate_products(load_gates(retain + rows, start, stop, 1.0, C), C, LOW)
    similarity = product(k, tl.trans(k), LOW)
    d_system = tl.where(lower, d_system, 0.0)
    d_eta = load_gates(d_tokens + 6 * rows, start, stop, 0.0, C) + tl.sum(d_system * between * similarity, 1)
    store_gates(d_rate + rows, d_eta, start, stop, C)
    d_between, d_similarity = eta[:, None] * similarity * d_system, eta[:, None] * between * d_system
    d_after = load_gates(d_tokens + 6 * rows + 2 * tokens, start, stop, 0.0, C)
    if READ == EXACT:
        q = load_rows(queries + rows * K, start, stop, 0, K, C, BK)
        overlap = product(q, tl.trans(k), LOW)
        d_between += tl.where(lower, d_weights * overlap, 0.0)
        d_overlap = between * d_weights
    if MOMENTUM:
        carry, _ = carried(momentum + rows, start, stop, C, LOW)
        excess = mask_product(between, carry, LOW) - between
        d_similarity += excess * d_mask
        d_excess = d_mask * similarity
        if READ == EXACT:
            d_overlap += excess * d_reading
            d_excess += d_reading * overlap
        more_between, more_after, d_mu = momentum_gradients(
            momentum + rows,
            start,
            stop,
            between,
            after,
            tl.where(lower, d_excess, 0.0),
            load_gates(d_tokens + 6 * rows + 3 * tokens, start, stop, 0.0, C),
            load_gates(d_tokens + 6 * rows + 4 * tokens, start, stop, 0.0, C),
            tl.load(d_tiles + 3 * tl.program_id(0) + 1),
            load_gates(d_tokens + 6 * rows + 5 * tokens, start, stop, 0.0, C),
            tl.load(d_tiles + 3 * tl.program_id(0) + 2),
            C,
            LOW,
        )
        d_between += more_between
        d_after += more_after
        store_gates(d_momentum + rows, d_mu, start, stop, C)
    d_before = load_gates(d_tokens + 6 * rows + tokens, start, stop, 0.0, C)
    d_total = tl.load(d_tiles + 3 * tl.program_id(0))
    d_alpha = products_backward(between, before, after, d_between, d_before, d_after, d_total, LOW)
    store_gates(d_retain + rows, d_alpha, start, stop, C)
    d_k = load_rows(d_keys + rows * K, start, stop, 0, K, C, BK)
    d_k += product(d_similarity + tl.trans(d_similarity), k, LOW)
    if READ == EXACT:
        d_q = load_rows(d_queries + rows * K, start, stop, 0, K, C, BK) + product(d_overlap, k, LOW)
        store_rows(d_queries + rows * K, d_q, start, stop, 0, K, C, BK)
        d_k += product(tl.trans(d_overlap), q, LOW)
    store_rows(d_keys + rows * K, d_k, start, stop, 0, K, C, BK)
