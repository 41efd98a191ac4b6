"""The chunked scan's gradients as Triton kernels: a short chain of ∂M from tile to tile, then every tile by itself.

Letters as in `_triton_forward`; D and DS are the gradients of memory and velocity, stored transposed at every tile's end. Where
only sums over the rows of the memory are wanted they are taken after the products: ⟨x, M k⟩ is ⟨Mᵀ x, k⟩.
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
    gates_backward,
    load_gates,
    load_rows,
    mask_product,
    product,
    store_gates,
    store_rows,
    tile_span,
)
from nlbench.kernels.memory_scan._triton_forward import (
    LENGTHS,
    ahead,
    carried,
    load_gate_products,
    load_keys_and_rates,
    load_probes,
    load_residual,
    momentum_excess,
    own_tile,
    residual_rows,
)


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
    C: tl.constexpr,
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
    d_mu_between = gate[:, None] * d_carry
    held = mu_between * d_mu_between
    d_mu += gates_backward(
        gate, mu_between, mu_before, mu_after, d_mu_between, held, gate * d_column, d_mu_after, d_mu_total, C, LOW
    )
    return tl.where(token[:, None] > token[None, :], d_between, 0.0), d_after, d_mu


@triton.jit(do_not_specialize=LENGTHS)
def reverse(
    d_memory,
    d_velocity,
    keys,
    probes,
    rate,
    momentum,
    solved,
    befores,
    afters,
    totals,
    crossed,
    speed_before,
    speed_after,
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
    """The chain of BV rows of D, last tile first, and every Tᵀ ∂E; FROZEN: what reaches F waits for the chunk's first tile."""
    slices: tl.constexpr = (V + BV - 1) // BV
    program = (tl.program_id(0) // slices).to(tl.int64)
    v = (tl.program_id(0) % slices) * BV
    rows, first = program * tokens, program * K * V
    d = tl.trans(load_rows(d_memory + first, v, V, 0, K, BV, BK))
    waiting = tl.zeros((BK, BV), tl.float32)
    ds = waiting
    if MOMENTUM:
        ds = tl.trans(load_rows(d_velocity + first, v, V, 0, K, BV, BK))
    last = tl.maximum(tiles - 1, 0)
    next_k, next_eta = ahead(keys + rows * K, rate + rows, last, tokens, chunk, per_chunk, K, C, BK)
    next_read = tl.zeros((BK, BV), ends.dtype.element_ty)
    if READ != NO_READ:
        found = tl.minimum(tiles, 1) * K  # none of no tiles
        next_read = load_rows(ends + (program * tiles + last) * K * V, 0, found, v, V, BK, BV).to(ends.dtype.element_ty)
    for back in range(tiles):
        tile = tiles - 1 - back
        start, stop = tile_span(tile, tokens, chunk, per_chunk, C)
        number = program * tiles + tile
        to_f, to_d = tl.zeros((BK, BV), tl.float32), tl.load(totals + number) * d
        if READ == STALE:
            to_f += next_read.to(tl.float32)
        elif READ == EXACT:
            to_d += next_read.to(tl.float32)
        if READ != NO_READ:
            before_it = program * tiles + tl.maximum(tile - 1, 0)
            next_read = load_rows(ends + before_it * K * V, 0, K, v, V, BK, BV).to(ends.dtype.element_ty)
        store_rows(ends + number * K * V, d, 0, K, v, V, BK, BV)
        k, eta = next_k, next_eta.to(tl.float32)
        next_k, next_eta = ahead(keys + rows * K, rate + rows, tl.maximum(tile - 1, 0), tokens, chunk, per_chunk, K, C, BK)
        before, after = load_gates(befores + rows, start, stop, 0.0, C), load_gates(afters + rows, start, stop, 0.0, C)
        z = product(k, d, LOW)
        de = after[:, None] * z
        if READ == EXACT:
            de += load_rows(errors + rows * V, start, stop, v, V, C, BV)
        dy = product(tl.trans(load_rows(solved + number * C * C, 0, C, 0, C, C, C)), de, LOW)
        store_rows(errors + rows * V, dy, start, stop, v, V, C, BV)
        dr = eta[:, None] * dy
        pulled = before[:, None] * dr
        if MOMENTUM:
            to_ds = tl.zeros((BK, BV), tl.float32)
            if READ == EXACT:
                to_ds += load_rows(velocity_ends + number * K * V, 0, K, v, V, BK, BV)
            store_rows(velocity_ends + number * K * V, ds, 0, K, v, V, BK, BV)
            _, _, mu_after, mu_total = load_gate_products(momentum + rows, start, stop, C, LOW)
            da = load_gates(speed_after + rows, start, stop, 0.0, C)[:, None] * z + mu_after[:, None] * product(k, ds, LOW)
            da -= product(tl.trans(load_rows(crossed + number * C * C, 0, C, 0, C, C, C)), dr, LOW)
            _, column = carried(momentum + rows, start, stop, C, LOW)
            c_before = load_gates(speed_before + rows, start, stop, 0.0, C)
            ds = to_ds + mu_total * ds + tl.sum(after * column, 0) * d - product(tl.trans(k), c_before[:, None] * dr, LOW)
            if READ == EXACT:
                da += load_rows(writes + rows * V, start, stop, v, V, C, BV)
            dr += eta[:, None] * da
        if RESIDUAL == SELF_GENERATED:
            to_f += product(tl.trans(load_rows(probes + rows * K, start, stop, 0, K, C, BK)), dr, LOW)
        elif RESIDUAL == MINUS_PREDICTION:
            if FROZEN:
                to_f -= product(tl.trans(k), dr, LOW)
            else:
                pulled += dr
        to_d -= product(tl.trans(k), pulled, LOW)
        if FROZEN:
            waiting += to_f
            d = tl.where(tile % per_chunk == 0, to_d + waiting, to_d)
            waiting = tl.where(tile % per_chunk == 0, 0.0, waiting)
        else:
            d = to_d + to_f
    store_rows(d_first + first, tl.trans(d), v, V, 0, K, BV, BK)
    if MOMENTUM:
        store_rows(d_first_velocity + first, tl.trans(ds), v, V, 0, K, BV, BK)


@triton.jit(do_not_specialize=LENGTHS)
def gradients(
    keys,
    targets,
    probes,
    rate,
    E,
    errors,
    memories,
    velocities,
    ends,
    velocity_ends,
    writes,
    befores,
    afters,
    crossed,
    speed_before,
    speed_after,
    momentum,
    d_keys,
    d_targets,
    d_probes,
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

    d_tokens (programs, 8, tokens) and d_tiles (programs, tiles, 3) take what reaches numbers of a token (η, γ̄, s, and momentum's
    c̄, writes by the end and s) and of a tile (γ_C, and momentum's c_C and γ_C); exact reads have left their part of γ̄ and c̄.
    """
    program, tile, start, stop = own_tile(tl.program_id(0), tokens, chunk, per_chunk, tiles, C)
    rows, number = program * tokens, program * tiles + tile
    block, frozen = number * K * V, (number - tile % per_chunk) * K * V
    d_tokens += 8 * rows
    k, eta = load_keys_and_rates(keys + rows * K, rate + rows, start, stop, K, C, BK)
    before, after = load_gates(befores + rows, start, stop, 0.0, C), load_gates(afters + rows, start, stop, 0.0, C)
    d_k, to_m, to_d = tl.zeros((C, BK), tl.float32), tl.zeros((C, BK), tl.float32), tl.zeros((C, BK), tl.float32)
    probe = load_probes(probes + rows * K, k, start, stop, K, C, BK, RESIDUAL)
    d_probe = d_k
    d_eta, d_total = tl.zeros((C,), tl.float32), tl.sum(eta * 0, 0)
    d_before, d_after = d_eta, d_eta
    if MOMENTUM:
        P = load_rows(crossed + number * C * C, 0, C, 0, C, C, C)
        c_before = load_gates(speed_before + rows, start, stop, 0.0, C)
        written = load_gates(speed_after + rows, start, stop, 0.0, C)
        _, _, mu_after, _ = load_gate_products(momentum + rows, start, stop, C, LOW)
        d_c_before, d_written, d_mu_after = d_eta, d_eta, d_eta
        d_c_total, d_mu_total = d_total, d_total
    for v in range(0, V, BV):
        m, d = load_rows(memories + block, 0, K, v, V, BK, BV), load_rows(ends + block, 0, K, v, V, BK, BV)
        f = m
        if RESIDUAL != GIVEN:
            f = load_rows(memories + frozen, 0, K, v, V, BK, BV)
        r = residual_rows(load_rows(targets + rows * V, start, stop, v, V, C, BV), k, probe, f, RESIDUAL, LOW)
        dy = load_rows(errors + rows * V, start, stop, v, V, C, BV)
        e = load_rows(E + rows * V, start, stop, v, V, C, BV)
        d_eta += tl.sum(dy * r, 1)
        d_total += tl.sum(tl.sum(d * m, 1), 0)
        dr = eta[:, None] * dy
        if MOMENTUM:
            s = load_rows(velocities + block, 0, K, v, V, BK, BV)
            ds = load_rows(velocity_ends + block, 0, K, v, V, BK, BV)
            a = eta[:, None] * r
            z, prediction, speed, pull = product(k, d, LOW), product(k, m, LOW), product(k, s, LOW), product(k, ds, LOW)
            da = written[:, None] * z + mu_after[:, None] * pull - product(tl.trans(P), dr, LOW)
            if READ == EXACT:
                da += load_rows(writes + rows * V, start, stop, v, V, C, BV)
            known = before[:, None] * prediction + c_before[:, None] * speed + product(P, a, LOW)
            d_eta += tl.sum(da * r, 1) - tl.sum(dy * known, 1)
            d_k += product(after[:, None] * e + written[:, None] * a, tl.trans(d), LOW)
            d_k += product(mu_after[:, None] * a, tl.trans(ds), LOW)
            d_k -= product(before[:, None] * dr, tl.trans(m), LOW) + product(c_before[:, None] * dr, tl.trans(s), LOW)
            d_before -= tl.sum(dr * prediction, 1)
            d_after += tl.sum(e * z, 1)
            d_c_before -= tl.sum(dr * speed, 1)
            d_written += tl.sum(a * z, 1)
            d_mu_after += tl.sum(a * pull, 1)
            d_c_total += tl.sum(tl.sum(d * s, 1), 0)
            d_mu_total += tl.sum(tl.sum(ds * s, 1), 0)
            dr += eta[:, None] * da
        else:
            to_m += product(dy, tl.trans(m), LOW)
            to_d += product(e, tl.trans(d), LOW)
        store_rows(d_targets + rows * V, dr, start, stop, v, V, C, BV)
        if RESIDUAL == MINUS_PREDICTION:
            d_k -= product(dr, tl.trans(f), LOW)
        elif RESIDUAL == SELF_GENERATED:
            d_probe += product(dr, tl.trans(f), LOW)
    if not MOMENTUM:
        predicted = tl.sum(k * to_m, 1)
        d_eta -= before * predicted
        d_before, d_after = -eta * predicted, tl.sum(k * to_d, 1)
        d_k += after[:, None] * to_d - (eta * before)[:, None] * to_m
    if READ == EXACT:
        d_k += load_rows(d_keys + rows * K, start, stop, 0, K, C, BK)
    store_rows(d_keys + rows * K, d_k, start, stop, 0, K, C, BK)
    if RESIDUAL == SELF_GENERATED:
        store_rows(d_probes + rows * K, d_probe, start, stop, 0, K, C, BK)
    store_gates(d_tokens, d_eta, start, stop, C)
    store_gates(d_tokens + tokens, d_before, start, stop, C)
    store_gates(d_tokens + 2 * tokens, d_after, start, stop, C)
    tl.store(d_tiles + 3 * number, d_total)
    if MOMENTUM:
        store_gates(d_tokens + 3 * tokens, d_c_before, start, stop, C)
        store_gates(d_tokens + 4 * tokens, d_written, start, stop, C)
        store_gates(d_tokens + 5 * tokens, d_mu_after, start, stop, C)
        tl.store(d_tiles + 3 * number + 1, d_c_total)
        tl.store(d_tiles + 3 * number + 2, d_mu_total)


@triton.jit(do_not_specialize=LENGTHS)
def mask_gradients(
    keys,
    targets,
    probes,
    rate,
    retain,
    momentum,
    E,
    errors,
    memories,
    d_tokens,
    d_tiles,
    d_keys,
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
    """What reaches one tile's tokens through the masks of A and P, added to what the other kernels found."""
    program, tile, start, stop = own_tile(tl.program_id(0), tokens, chunk, per_chunk, tiles, C)
    rows, frozen = program * tokens, (program * tiles + tile - tile % per_chunk) * K * V
    d_tokens += 8 * rows
    d_tiles += 3 * tl.program_id(0)
    token = tl.arange(0, C)
    lower = token[:, None] > token[None, :]
    k, eta = load_keys_and_rates(keys + rows * K, rate + rows, start, stop, K, C, BK)
    d_system = tl.zeros((C, C), tl.float32)
    if MOMENTUM:
        d_mask = tl.zeros((C, C), tl.float32)
        probe = load_probes(probes + rows * K, k, start, stop, K, C, BK, RESIDUAL)
    for v in range(0, V, BV):
        dy = load_rows(errors + rows * V, start, stop, v, V, C, BV)
        d_system -= product(dy, tl.trans(load_rows(E + rows * V, start, stop, v, V, C, BV)), LOW)
        if MOMENTUM:
            a = eta[:, None] * load_residual(
                targets + rows * V, memories + frozen, k, probe, start, stop, v, K, V, C, BK, BV, RESIDUAL, LOW
            )
            d_mask -= product(eta[:, None] * dy, tl.trans(a), LOW)
    alpha = load_gates(retain + rows, start, stop, 1.0, C)
    between, before, after, _ = gate_products(alpha, C, LOW)
    similarity = product(k, tl.trans(k), LOW)
    d_between, d_similarity = tl.where(lower, d_system * similarity, 0.0), d_system * between
    held = d_similarity * similarity
    store_gates(d_rate + rows, load_gates(d_tokens, start, stop, 0.0, C) + tl.sum(held, 1), start, stop, C)
    d_between, d_similarity, held = eta[:, None] * d_between, eta[:, None] * d_similarity, eta[:, None] * held
    d_before, d_after = load_gates(d_tokens + tokens, start, stop, 0.0, C), load_gates(d_tokens + 2 * tokens, start, stop, 0.0, C)
    if MOMENTUM:
        d_similarity += momentum_excess(momentum + rows, start, stop, between, C, LOW) * d_mask
        more_between, more_after, d_mu = momentum_gradients(
            momentum + rows,
            start,
            stop,
            between,
            after,
            tl.where(lower, d_mask * similarity, 0.0),
            load_gates(d_tokens + 3 * tokens, start, stop, 0.0, C),
            load_gates(d_tokens + 4 * tokens, start, stop, 0.0, C),
            tl.load(d_tiles + 1),
            load_gates(d_tokens + 5 * tokens, start, stop, 0.0, C),
            tl.load(d_tiles + 2),
            C,
            LOW,
        )
        d_between += more_between
        held += between * more_between
        d_after += more_after
        if READ == EXACT:
            d_mu += load_gates(d_tokens + 7 * tokens, start, stop, 0.0, C)
        store_gates(d_momentum + rows, d_mu, start, stop, C)
    d_total = tl.load(d_tiles)
    d_alpha = gates_backward(alpha, between, before, after, d_between, held, d_before, d_after, d_total, C, LOW)
    if READ == EXACT:
        d_alpha += load_gates(d_tokens + 6 * tokens, start, stop, 0.0, C)
    store_gates(d_retain + rows, d_alpha, start, stop, C)
    d_k = load_rows(d_keys + rows * K, start, stop, 0, K, C, BK)
    d_k += product(d_similarity + tl.trans(d_similarity), k, LOW)
    store_rows(d_keys + rows * K, d_k, start, stop, 0, K, C, BK)
