"""The chunked scan's gradients as Triton kernels: a short chain of ∂M from tile to tile, then every tile by itself.

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
    between_products,
    load_gates,
    load_rows,
    mask_product,
    prefix_products,
    product,
    products_backward,
    store_gates,
    store_rows,
    suffix_products,
    tile_span,
    unit_lower_inverse,
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
    between = between_products(retain + rows, start, stop, C)
    overlap = product(k, tl.trans(q), LOW)
    store_rows(errors + rows * V, product(tl.trans(between) * overlap, do, LOW), start, stop, v, V, C, BV)
    if MOMENTUM:
        carry, _ = carried(momentum + rows, start, stop, C)
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
    """The chain of BV rows of D, last tile first; FROZEN: what reaches F waits for the chunk's first tile."""
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
        after, total = suffix_products(retain + rows, start, stop, C)
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
                before = prefix_products(retain + rows, start, stop, C)
                to_d += product(tl.trans(q), before[:, None] * do, LOW)
        to_d -= product(tl.trans(load_rows(W + rows * K, start, stop, 0, K, C, BK)), de, LOW)
        if FROZEN and RESIDUAL != GIVEN:
            to_f -= product(tl.trans(load_rows(X + rows * K, start, stop, 0, K, C, BK)), de, LOW)
        if MOMENTUM:
            store_rows(velocity_ends + block, ds, 0, K, v, V, BK, BV)
            mu_after, mu_total = suffix_products(momentum + rows, start, stop, C)
            da = load_gates(speed_after + rows, start, stop, 0.0, C)[:, None] * z + mu_after[:, None] * product(k, ds, LOW)
            _, column = carried(momentum + rows, start, stop, C)
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
    mu_between = between_products(momentum, start, stop, C)
    mu_before = prefix_products(momentum, start, stop, C)
    mu_after, _ = suffix_products(momentum, start, stop, C)
    carry, column = carried(momentum, start, stop, C)
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
    memories,
    velocities,
    ends,
    velocity_ends,
    d_outputs,
    d_keys,
    d_targets,
    d_probes,
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
    """The gradients of one tile's tokens, all rows of the memory in turn."""
    tile = tl.program_id(0) % tiles
    program = (tl.program_id(0) // tiles).to(tl.int64)
    start, stop = tile_span(tile, tokens, chunk, per_chunk, C)
    rows, block = program * tokens, (program * tiles + tile) * K * V
    frozen = block - (tile % per_chunk) * K * V
    token = tl.arange(0, C)
    lower = token[:, None] > token[None, :]
    k = load_rows(keys + rows * K, start, stop, 0, K, C, BK)
    eta = load_gates(rate + rows, start, stop, 0.0, C)
    between = between_products(retain + rows, start, stop, C)
    before = prefix_products(retain + rows, start, stop, C)
    after, _ = suffix_products(retain + rows, start, stop, C)
    similarity = product(k, tl.trans(k), LOW)
    inverse = unit_lower_inverse(eta[:, None] * between * similarity, C, LOW)
    d_k = tl.zeros((C, BK), tl.float32)
    probe, d_probe, q, d_q = k, d_k, k, d_k
    if RESIDUAL == SELF_GENERATED:
        probe = load_rows(probes + rows * K, start, stop, 0, K, C, BK)
    if READ != NO_READ:
        q = load_rows(queries + rows * K, start, stop, 0, K, C, BK)
    d_system, d_weights, overlap = tl.zeros((C, C), tl.float32), tl.zeros((C, C), tl.float32), similarity
    if READ == EXACT:
        overlap = product(q, tl.trans(k), LOW)
    d_eta, d_before, d_after, d_total = eta * 0, eta * 0, eta * 0, tl.sum(eta * 0, 0)
    if MOMENTUM:
        carry, column = carried(momentum + rows, start, stop, C)
        excess = mask_product(between, carry, LOW) - between
        c_before = tl.sum(between * column[None, :], 1)
        speed_after = tl.sum(after[:, None] * carry, 0) - after
        mu_after, _ = suffix_products(momentum + rows, start, stop, C)
        d_mask, d_reading = tl.zeros((C, C), tl.float32), tl.zeros((C, C), tl.float32)
        d_c_before, d_speed_after, d_mu_after = eta * 0, eta * 0, eta * 0
        d_c_total, d_mu_total = tl.sum(eta * 0, 0), tl.sum(eta * 0, 0)
    for v in range(0, V, BV):
        m = load_rows(memories + block, 0, K, v, V, BK, BV)
        f = load_rows(memories + frozen, 0, K, v, V, BK, BV)
        d = load_rows(ends + block, 0, K, v, V, BK, BV)
        target = load_rows(targets + rows * V, start, stop, v, V, C, BV)
        r = residual_rows(target, k, probe, f, RESIDUAL, LOW)
        prediction = product(k, m, LOW)
        gap = r - before[:, None] * prediction
        if MOMENTUM:
            s = load_rows(velocities + block, 0, K, v, V, BK, BV)
            ds = load_rows(velocity_ends + block, 0, K, v, V, BK, BV)
            a = eta[:, None] * r
            speed = product(k, s, LOW)
            gap -= c_before[:, None] * speed + product(excess * similarity, a, LOW)
        e = product(inverse, eta[:, None] * gap, LOW)
        z = product(k, d, LOW)
        de = after[:, None] * z
        if READ != NO_READ:
            do = load_rows(d_outputs + rows * V, start, stop, v, V, C, BV)
            if READ == STALE:
                d_q += product(do, tl.trans(f), LOW)
            else:
                de += product(tl.trans(between * overlap), do, LOW)
                d_weights += product(do, tl.trans(e), LOW)
                d_before += tl.sum(do * product(q, m, LOW), 1)
                d_q += product(before[:, None] * do, tl.trans(m), LOW)
        dy = product(tl.trans(inverse), de, LOW)
        d_system -= product(dy, tl.trans(e), LOW)
        d_eta += tl.sum(dy * gap, 1)
        du = -eta[:, None] * dy
        dr = -du
        d_before += tl.sum(du * prediction, 1)
        d_after += tl.sum(e * z, 1)
        d_total += tl.sum(tl.sum(d * m, 1), 0)
        d_k += product(after[:, None] * e, tl.trans(d), LOW) + product(before[:, None] * du, tl.trans(m), LOW)
        if MOMENTUM:
            pull = product(k, ds, LOW)
            da = speed_after[:, None] * z + mu_after[:, None] * pull + product(tl.trans(excess * similarity), du, LOW)
            d_mask += product(du, tl.trans(a), LOW)
            d_k += product(speed_after[:, None] * a, tl.trans(d), LOW) + product(mu_after[:, None] * a, tl.trans(ds), LOW)
            d_k += product(c_before[:, None] * du, tl.trans(s), LOW)
            d_c_before += tl.sum(du * speed, 1)
            d_speed_after += tl.sum(a * z, 1)
            d_mu_after += tl.sum(a * pull, 1)
            d_c_total += tl.sum(tl.sum(d * s, 1), 0)
            d_mu_total += tl.sum(tl.sum(ds * s, 1), 0)
            if READ == EXACT:
                da += product(tl.trans(excess * overlap), do, LOW)
                d_reading += product(do, tl.trans(a), LOW)
                d_c_before += tl.sum(do * product(q, s, LOW), 1)
                d_q += product(c_before[:, None] * do, tl.trans(s), LOW)
            d_eta += tl.sum(da * r, 1)
            dr += eta[:, None] * da
        store_rows(d_targets + rows * V, dr, start, stop, v, V, C, BV)
        if RESIDUAL == MINUS_PREDICTION:
            d_k -= product(dr, tl.trans(f), LOW)
        elif RESIDUAL == SELF_GENERATED:
            d_probe += product(dr, tl.trans(f), LOW)
    d_system = tl.where(lower, d_system, 0.0)
    d_eta += tl.sum(d_system * between * similarity, 1)
    d_similarity = eta[:, None] * between * d_system
    d_between = eta[:, None] * similarity * d_system
    d_overlap = between * d_weights
    if READ == EXACT:
        d_between += tl.where(lower, d_weights * overlap, 0.0)
    if MOMENTUM:
        d_similarity += excess * d_mask
        d_excess = d_mask * similarity
        if READ == EXACT:
            d_overlap += excess * d_reading
            d_excess += d_reading * overlap
        d_excess = tl.where(lower, d_excess, 0.0)
        more_between, more_after, d_mu = momentum_gradients(
            momentum + rows,
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
            LOW,
        )
        d_between += more_between
        d_after += more_after
        store_gates(d_momentum + rows, d_mu, start, stop, C)
    d_k += product(d_similarity + tl.trans(d_similarity), k, LOW)
    if READ == EXACT:
        d_q += product(d_overlap, k, LOW)
        d_k += product(tl.trans(d_overlap), q, LOW)
    store_rows(d_keys + rows * K, d_k, start, stop, 0, K, C, BK)
    if RESIDUAL == SELF_GENERATED:
        store_rows(d_probes + rows * K, d_probe, start, stop, 0, K, C, BK)
    if READ != NO_READ:
        store_rows(d_queries + rows * K, d_q, start, stop, 0, K, C, BK)
    store_gates(d_rate + rows, d_eta, start, stop, C)
    d_alpha = products_backward(between, before, after, d_between, d_before, d_after, d_total, LOW)
    store_gates(d_retain + rows, d_alpha, start, stop, C)
