"""The chunked scan as Triton kernels, parallel over tiles of tokens wherever the state is not needed.

Every tile's errors are linear in the states at its start: E = T diag(η) (R - diag(γ̄) K Mᵀ - diag(c̄) K Sᵀ - P diag(η) R), with
T = (I + A)⁻¹, S the velocity and P momentum's mask of the similarities. `solve` and `carry` make T, P and what is known of the
gates for all tiles at once, `states` runs the chain M -> E -> M, and `read` answers. Backward, `reverse` runs the chain of
D = ∂M, and the other kernels take every tile back by itself. States are stored transposed, (d_k, d_v), at every tile start.
Residual r = targets + N Fᵀ with N = 0, -K or probes and F the state at the chunk start.

Per program and tile of C tokens: `C² d_k + ⅓ C³` multiply-adds in parallel and `C² d_v + 2 C d_k d_v` in the chain.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import (
    MINUS_PREDICTION,
    SELF_GENERATED,
    STALE,
    block_inverse,
    gate_products,
    load_gates,
    load_rows,
    mask_product,
    product,
    store_gates,
    store_rows,
    tile_span,
)

LENGTHS = ("tokens", "chunk", "per_chunk", "tiles")


@triton.jit
def own_tile(number, tokens, chunk, per_chunk, tiles, C: tl.constexpr):
    """Which program and which of its tiles the `number`-th of all tiles is, its first token and the token after its last."""
    tile = number % tiles
    program = (number // tiles).to(tl.int64)
    start, stop = tile_span(tile, tokens, chunk, per_chunk, C)
    return program, tile, start, stop


@triton.jit
def load_keys_and_rates(keys, rate, start, stop, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr):
    """K and η of the tile's tokens."""
    return load_rows(keys, start, stop, 0, K, C, BK), load_gates(rate, start, stop, 0.0, C)


@triton.jit
def load_probes(probes, k, start, stop, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, RESIDUAL: tl.constexpr):
    """The probes of the tile's tokens; their keys where the residual has none."""
    if RESIDUAL == SELF_GENERATED:
        return load_rows(probes, start, stop, 0, K, C, BK)
    else:
        return k


@triton.jit
def load_gate_products(gates, start, stop, C: tl.constexpr, LOW: tl.constexpr):
    """Λ, γ̄, s and γ_C of the gates of the tile's tokens."""
    return gate_products(load_gates(gates, start, stop, 1.0, C), C, LOW)


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
def ahead(keys, rate, tile, tokens, chunk, per_chunk, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr):
    """K and η of a tile that a chain comes to next, as they are stored: Triton itself does not load K, used twice, in time."""
    start, stop = tile_span(tile, tokens, chunk, per_chunk, C)
    k, eta = load_keys_and_rates(keys, rate, start, stop, K, C, BK)
    return k.to(keys.dtype.element_ty), eta.to(rate.dtype.element_ty)


@triton.jit
def residual_rows(target, k, probe, f, RESIDUAL: tl.constexpr, LOW: tl.constexpr):
    """R of the tile's tokens."""
    if RESIDUAL == MINUS_PREDICTION:
        return target - product(k, f, LOW)
    elif RESIDUAL == SELF_GENERATED:
        return target + product(probe, f, LOW)
    else:
        return target


@triton.jit
def load_residual(
    targets,
    first_memory,
    k,
    probe,
    start,
    stop,
    v,
    K: tl.constexpr,
    V: tl.constexpr,
    C: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    RESIDUAL: tl.constexpr,
    LOW: tl.constexpr,
):
    """R of the tile's tokens for BV rows of the memory, of which `first_memory` is the state at the chunk start."""
    target = load_rows(targets, start, stop, v, V, C, BV)
    f = load_rows(first_memory, 0, K, v, V, BK, BV)
    return residual_rows(target, k, probe, f, RESIDUAL, LOW)


@triton.jit
def momentum_excess(momentum, start, stop, between, C: tl.constexpr, LOW: tl.constexpr):
    """W = Λ Γ_μ - Λ, by which momentum adds to what the tile's earlier writes mean to its later tokens."""
    carry, _ = carried(momentum, start, stop, C, LOW)
    return mask_product(between, carry, LOW) - between


@triton.jit
def solved_block(keys, rate, retain, start, stop, K: tl.constexpr, BK: tl.constexpr, LOW: tl.constexpr):
    """K, η diag(γ̄), γ̄, s, γ_C and T of 16 tokens."""
    k, eta = load_keys_and_rates(keys, rate, start, stop, K, 16, BK)
    between, before, after, total = load_gate_products(retain, start, stop, 16, LOW)
    inverse = block_inverse(eta[:, None] * between * product(k, tl.trans(k), LOW), LOW)
    return k, eta * before, before, after, total, inverse


@triton.jit
def coupled(k, front, earlier, after, LOW: tl.constexpr):
    """The block of A that couples 16 tokens with 16 `earlier` ones; `front` holds the gates between the two blocks."""
    return front[:, None] * after[None, :] * product(k, tl.trans(earlier), LOW)


@triton.jit(do_not_specialize=LENGTHS)
def solve(
    keys,
    rate,
    retain,
    solved,
    befores,
    afters,
    totals,
    tokens,
    chunk,
    per_chunk,
    tiles,
    K: tl.constexpr,
    C: tl.constexpr,
    BK: tl.constexpr,
    LOW: tl.constexpr,
):
    """T, γ̄, s and γ_C of one tile, in blocks of 16 tokens by forward substitution: T_ij = -T_i Σ_l A_il T_lj.

    No powers of A: with similar keys those grow far beyond the inverse.
    """
    program, _, start, stop = own_tile(tl.program_id(0), tokens, chunk, per_chunk, tiles, C)
    keys, rate, retain = keys + program * tokens * K, rate + program * tokens, retain + program * tokens
    befores, afters = befores + program * tokens, afters + program * tokens
    T = solved + tl.program_id(0).to(tl.int64) * C * C
    k0, _, before0, after0, total0, T00 = solved_block(keys, rate, retain, start, stop, K, BK, LOW)
    store_rows(T, T00, 0, 16, 0, C, 16, 16)
    store_gates(befores, before0, start, stop, 16)
    if C == 16:
        store_gates(afters, after0, start, stop, 16)
        tl.store(totals + tl.program_id(0), total0)
    else:
        k1, front1, before1, after1, total1, T11 = solved_block(keys, rate, retain, start + 16, stop, K, BK, LOW)
        T10 = -mask_product(T11, mask_product(coupled(k1, front1, k0, after0, LOW), T00, LOW), LOW)
        store_rows(T, T00 * 0, 0, 16, 16, C, 16, 16)
        store_rows(T, T10, 16, 32, 0, C, 16, 16)
        store_rows(T, T11, 16, 32, 16, C, 16, 16)
        store_gates(befores, total0 * before1, start + 16, stop, 16)
        whole = total0 * total1
        if C == 32:
            store_gates(afters, after0 * total1, start, stop, 16)
            store_gates(afters, after1, start + 16, stop, 16)
            tl.store(totals + tl.program_id(0), whole)
        else:
            k2, front2, before2, after2, total2, T22 = solved_block(keys, rate, retain, start + 32, stop, K, BK, LOW)
            A20, A21 = coupled(k2, total1 * front2, k0, after0, LOW), coupled(k2, front2, k1, after1, LOW)
            T20 = -mask_product(T22, mask_product(A20, T00, LOW) + mask_product(A21, T10, LOW), LOW)
            T21 = -mask_product(T22, mask_product(A21, T11, LOW), LOW)
            k3, front3, before3, after3, total3, T33 = solved_block(keys, rate, retain, start + 48, stop, K, BK, LOW)
            A30, A31 = coupled(k3, total1 * total2 * front3, k0, after0, LOW), coupled(k3, total2 * front3, k1, after1, LOW)
            A32 = coupled(k3, front3, k2, after2, LOW)
            below = mask_product(A30, T00, LOW) + mask_product(A31, T10, LOW) + mask_product(A32, T20, LOW)
            T30 = -mask_product(T33, below, LOW)
            T31 = -mask_product(T33, mask_product(A31, T11, LOW) + mask_product(A32, T21, LOW), LOW)
            T32 = -mask_product(T33, mask_product(A32, T22, LOW), LOW)
            store_rows(T, tl.zeros((32, 32), tl.float32), 0, 32, 32, C, 32, 32)
            store_rows(T, T20, 32, 48, 0, C, 16, 16)
            store_rows(T, T21, 32, 48, 16, C, 16, 16)
            store_rows(T, T22, 32, 48, 32, C, 16, 16)
            store_rows(T, T00 * 0, 32, 48, 48, C, 16, 16)
            store_rows(T, T30, 48, 64, 0, C, 16, 16)
            store_rows(T, T31, 48, 64, 16, C, 16, 16)
            store_rows(T, T32, 48, 64, 32, C, 16, 16)
            store_rows(T, T33, 48, 64, 48, C, 16, 16)
            store_gates(befores, whole * before2, start + 32, stop, 16)
            store_gates(befores, whole * total2 * before3, start + 48, stop, 16)
            store_gates(afters, after0 * total1 * total2 * total3, start, stop, 16)
            store_gates(afters, after1 * total2 * total3, start + 16, stop, 16)
            store_gates(afters, after2 * total3, start + 32, stop, 16)
            store_gates(afters, after3, start + 48, stop, 16)
            tl.store(totals + tl.program_id(0), whole * total2 * total3)


@triton.jit(do_not_specialize=LENGTHS)
def carry(
    keys,
    retain,
    momentum,
    crossed,
    speed_before,
    speed_after,
    tokens,
    chunk,
    per_chunk,
    tiles,
    K: tl.constexpr,
    C: tl.constexpr,
    BK: tl.constexpr,
    LOW: tl.constexpr,
):
    """P of one tile, c̄ and what momentum adds to every write by the tile's end."""
    program, _, start, stop = own_tile(tl.program_id(0), tokens, chunk, per_chunk, tiles, C)
    rows = program * tokens
    k = load_rows(keys + rows * K, start, stop, 0, K, C, BK)
    between, _, after, _ = load_gate_products(retain + rows, start, stop, C, LOW)
    mask, column = carried(momentum + rows, start, stop, C, LOW)
    store_gates(speed_before + rows, tl.sum(between * column[None, :], 1), start, stop, C)
    store_gates(speed_after + rows, tl.sum(after[:, None] * mask, 0) - after, start, stop, C)
    excess = mask_product(between, mask, LOW) - between
    block = tl.program_id(0).to(tl.int64) * C * C
    store_rows(crossed + block, excess * product(k, tl.trans(k), LOW), 0, C, 0, C, C, C)


@triton.jit(do_not_specialize=LENGTHS)
def states(
    memory,
    velocity,
    keys,
    targets,
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
    E,
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
    """The chain of BV rows of the memory: its state at every tile start and at the end, and every E."""
    slices: tl.constexpr = (V + BV - 1) // BV
    program = (tl.program_id(0) // slices).to(tl.int64)
    v = (tl.program_id(0) % slices) * BV
    rows, first = program * tokens, program * K * V
    m = tl.trans(load_rows(memory + first, v, V, 0, K, BV, BK))
    f, s = m, m
    if MOMENTUM:
        s = tl.trans(load_rows(velocity + first, v, V, 0, K, BV, BK))
    next_k, next_eta = ahead(keys + rows * K, rate + rows, 0, tokens, chunk, per_chunk, K, C, BK)
    for tile in range(tiles):
        start, stop = tile_span(tile, tokens, chunk, per_chunk, C)
        k, eta = next_k, next_eta.to(tl.float32)
        next_k, next_eta = ahead(keys + rows * K, rate + rows, tile + 1, tokens, chunk, per_chunk, K, C, BK)
        number = program * tiles + tile
        store_rows(memories + number * K * V, m, 0, K, v, V, BK, BV)
        f = tl.where(tile % per_chunk == 0, m, f) if FROZEN else m
        probe = load_probes(probes + rows * K, k, start, stop, K, C, BK, RESIDUAL)
        after, total = load_gates(afters + rows, start, stop, 0.0, C), tl.load(totals + number)
        r = residual_rows(load_rows(targets + rows * V, start, stop, v, V, C, BV), k, probe, f, RESIDUAL, LOW)
        gap = r - load_gates(befores + rows, start, stop, 0.0, C)[:, None] * product(k, m, LOW)
        if MOMENTUM:
            store_rows(velocities + number * K * V, s, 0, K, v, V, BK, BV)
            a = eta[:, None] * r
            gap -= load_gates(speed_before + rows, start, stop, 0.0, C)[:, None] * product(k, s, LOW)
            gap -= product(load_rows(crossed + number * C * C, 0, C, 0, C, C, C), a, LOW)
        e = product(load_rows(solved + number * C * C, 0, C, 0, C, C, C), eta[:, None] * gap, LOW)
        store_rows(E + rows * V, e, start, stop, v, V, C, BV)
        write = after[:, None] * e
        if MOMENTUM:
            write += load_gates(speed_after + rows, start, stop, 0.0, C)[:, None] * a
            _, column = carried(momentum + rows, start, stop, C, LOW)
            _, _, mu_after, mu_total = load_gate_products(momentum + rows, start, stop, C, LOW)
            m = total * m + tl.sum(after * column, 0) * s + product(tl.trans(k), write, LOW)
            s = mu_total * s + product(tl.trans(k), mu_after[:, None] * a, LOW)
        else:
            m = total * m + product(tl.trans(k), write, LOW)
    store_rows(final + first, tl.trans(m), v, V, 0, K, BV, BK)
    if MOMENTUM:
        store_rows(speed + first, tl.trans(s), v, V, 0, K, BV, BK)


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
    program, tile, start, stop = own_tile(tl.program_id(0) // slices, tokens, chunk, per_chunk, tiles, C)
    rows, block = program * tokens, (program * tiles + tile) * K * V
    frozen = block - (tile % per_chunk) * K * V
    q = load_rows(queries + rows * K, start, stop, 0, K, C, BK)
    if READ == STALE:
        out = product(q, load_rows(memories + frozen, 0, K, v, V, BK, BV), LOW)
    else:
        k = load_rows(keys + rows * K, start, stop, 0, K, C, BK)
        between, before, _, _ = load_gate_products(retain + rows, start, stop, C, LOW)
        overlap = product(q, tl.trans(k), LOW)
        e = load_rows(E + rows * V, start, stop, v, V, C, BV)
        out = before[:, None] * product(q, load_rows(memories + block, 0, K, v, V, BK, BV), LOW)
        out += product(between * overlap, e, LOW)
        if MOMENTUM:
            probe = load_probes(probes + rows * K, k, start, stop, K, C, BK, RESIDUAL)
            eta = load_gates(rate + rows, start, stop, 0.0, C)
            a = eta[:, None] * load_residual(
                targets + rows * V, memories + frozen, k, probe, start, stop, v, K, V, C, BK, BV, RESIDUAL, LOW
            )
            excess = momentum_excess(momentum + rows, start, stop, between, C, LOW)
            c_before = load_gates(speed_before + rows, start, stop, 0.0, C)
            out += c_before[:, None] * product(q, load_rows(velocities + block, 0, K, v, V, BK, BV), LOW)
            out += product(excess * overlap, a, LOW)
    store_rows(outputs + rows * V, out, start, stop, v, V, C, BV)
