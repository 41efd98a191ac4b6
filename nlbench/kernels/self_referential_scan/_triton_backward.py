"""Gradients of the memories that make keys, values and gates: the chain of a program per seed and head back over its segments.

g is the gradient of a memory's D at the end of a segment, transposed as D is; R g, with R = Tᵀ s K, that of its gaps. What
reaches writes, system and states adds up over the memories as g Eᵀ and g Dᵀ before R multiplies it once, and
g ← γ_C g + (η (probes - γ̄ K))ᵀ R g + Xᵀ ∂raw.

Per segment and program: `6 C d² + 3 d³ + 4 C² d` multiply-adds in a chain of four dependent products and two sums over rows; the
tiles of the next segment are loaded meanwhile.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import gates_backward, load_gates, load_rows, load_transposed, product, store_rows
from nlbench.kernels.self_referential_scan._triton_forward import (
    GATES,
    LENGTHS,
    columns,
    load_memories,
    retentions,
    store_memories,
)


@triton.jit
def reached(
    g, errors, states, V: tl.constexpr, D: tl.constexpr, C: tl.constexpr, BD: tl.constexpr, BV: tl.constexpr, LOW: tl.constexpr
):
    """g Eᵀ (D, C) and g Dᵀ (D, D) of one memory."""
    of_errors = product(g, load_transposed(errors, 0, C, 0, V, C, BV), LOW)
    return of_errors, product(g, load_transposed(states, 0, D, 0, V, BD, BV), LOW)


@triton.jit
def store_pair(pointer, keys, values, start, stop, D: tl.constexpr, C: tl.constexpr, BD: tl.constexpr):
    """A tile's rows for keys and values, side by side in rows of 2 D."""
    row, place = start + tl.arange(0, C), tl.arange(0, BD)
    inside = (row < stop)[:, None] & (place < D)[None, :]
    pointer += row[:, None] * 2 * D + place[None, :]
    tl.store(pointer, keys.to(pointer.dtype.element_ty), mask=inside)
    tl.store(pointer + D, values.to(pointer.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=LENGTHS)
def backward(
    inputs,
    keys,
    probes,
    shares,
    scales,
    square_errors,
    gate_errors,
    square_states,
    gate_states,
    homes,
    home_gates,
    betweens,
    similarities,
    reaches,
    carries,
    befores,
    afters,
    totals,
    d_keys,
    d_probes,
    d_shares,
    d_final,
    d_final_gates,
    d_raw,
    d_raw_gates,
    rights,
    gate_rights,
    d_squares,
    d_gates,
    outer_rate_max,
    retain_min,
    tokens,
    outer_chunk,
    D: tl.constexpr,
    BD: tl.constexpr,
    C: tl.constexpr,
    L2: tl.constexpr,
    NORMALIZE: tl.constexpr,
    HOME: tl.constexpr,
    LOW: tl.constexpr,
):
    """The chain of one program, last segment first; saves what reached the raw keys, values and gates, and η Z for homes."""
    program = tl.program_id(0).to(tl.int64)
    row, square, pair = program * tokens, program * 2 * D * D, program * 2 * D
    segments = tl.cdiv(tokens, outer_chunk)
    g_keys, g_values, g_gates = load_memories(d_final + square, d_final_gates + pair, D, BD)
    for back in range(segments):
        segment = segments - 1 - back
        place, first = program * segments + segment, segment * outer_chunk
        last = tl.minimum(first + outer_chunk, tokens)
        tile = place * C * C
        share = load_gates(shares + 2 * row, first, last, 0.0, C)
        before, after = load_gates(befores + row, first, last, 0.0, C), load_gates(afters + row, first, last, 0.0, C)
        eta, total = outer_rate_max * share, tl.load(totals + place)
        reach = load_rows(reaches + row * D, first, last, 0, D, C, BD)
        e, state = square_errors + place * 2 * C * D, square_states + place * 2 * D * D
        of_errors, of_d = reached(g_keys, e, state, D, D, C, BD, BD, LOW)
        also_errors, also_d = reached(g_values, e + C * D, state + D * D, D, D, C, BD, BD, LOW)
        of_errors, of_d = of_errors + also_errors, of_d + also_d
        also_errors, also_d = reached(g_gates, gate_errors + place * 2 * C, gate_states + place * 2 * D, 2, D, C, BD, GATES, LOW)
        of_errors, of_d = of_errors + also_errors, of_d + also_d
        of_home = of_d + g_keys + g_values
        if HOME:
            h_keys, h_values, h_gates = load_memories(homes + square, home_gates + pair, D, BD)
            of_home += product(g_keys, tl.trans(h_keys), LOW) + product(g_values, tl.trans(h_values), LOW)
            of_home += product(g_gates, tl.trans(h_gates), LOW)
            right = eta[:, None]
            z_keys, z_values = right * product(reach, g_keys, LOW), right * product(reach, g_values, LOW)
            store_pair(rights + row * 2 * D, z_keys, z_values, first, last, D, C, BD)
            store_rows(gate_rights + row * 2, right * product(reach, g_gates, LOW), first, last, 0, 2, C, GATES)
        carry = load_rows(carries + place * D * D, 0, D, 0, D, BD, BD)
        g_keys = total * g_keys + product(carry, g_keys, LOW)
        g_values = total * g_values + product(carry, g_values, LOW)
        g_gates = total * g_gates + product(carry, g_gates, LOW)
        column = tl.arange(0, BD)
        d_total = tl.sum(tl.sum(tl.where(column[:, None] == column[None, :], of_d, 0.0), 1), 0)
        of_writes = tl.trans(of_errors)
        of_states, of_probes, of_system = product(reach, of_d, LOW), product(reach, of_home, LOW), product(reach, of_errors, LOW)
        k, probe = load_rows(keys + row * D, first, last, 0, D, C, BD), load_rows(probes + row * D, first, last, 0, D, C, BD)
        pulled, d_after = tl.sum(k * of_states, 1), tl.sum(k * of_writes, 1)
        d_eta, d_before = tl.sum(probe * of_probes, 1) - before * pulled, -eta * pulled
        d_k = load_rows(d_keys + row * D, first, last, 0, D, C, BD) + after[:, None] * of_writes
        d_k -= (eta * before)[:, None] * of_states
        d_probe = load_rows(d_probes + row * D, first, last, 0, D, C, BD) + eta[:, None] * of_probes
        between, similarity = load_rows(betweens + tile, 0, C, 0, C, C, C), load_rows(similarities + tile, 0, C, 0, C, C, C)
        token = tl.arange(0, C)
        d_similarity = between * of_system
        held = similarity * d_similarity
        d_eta -= tl.sum(held, 1)
        d_similarity, held = -eta[:, None] * d_similarity, -eta[:, None] * held
        d_between = tl.where(token[:, None] > token[None, :], -eta[:, None] * similarity * of_system, 0.0)
        d_k += product(d_similarity, k, LOW) + product(tl.trans(d_similarity), k, LOW)
        inside = first + token < last
        kept = load_gates(shares + 2 * row + tokens, first, last, 1.0, C)
        alpha = retentions(kept, inside, retain_min)
        d_alpha = gates_backward(alpha, between, before, after, d_between, held, d_before, d_after, d_total, C, LOW)
        if L2:
            d_k -= d_probe
            probe += k
        d_k = load_gates(scales + 2 * row, first, last, 0.0, C)[:, None] * (d_k - tl.sum(d_k * k, 1)[:, None] * k)
        if NORMALIZE:
            d_probe -= tl.sum(d_probe * probe, 1)[:, None] * probe
            d_probe *= load_gates(scales + 2 * row + tokens, first, last, 0.0, C)[:, None]
        store_pair(d_raw + row * 2 * D, d_k, d_probe, first, last, D, C, BD)
        d_share = load_gates(d_shares + 2 * row, first, last, 0.0, C) + outer_rate_max * d_eta
        d_kept = load_gates(d_shares + 2 * row + tokens, first, last, 0.0, C) + (1 - retain_min) * d_alpha
        d_made = columns(d_share * share * (1 - share), tl.where(inside, d_kept * kept * (1 - kept), 0.0))
        store_rows(d_raw_gates + row * 2, d_made, first, last, 0, 2, C, GATES)
        x = load_transposed(inputs + row * D, first, last, 0, D, C, BD)
        g_keys, g_values = g_keys + product(x, d_k, LOW), g_values + product(x, d_probe, LOW)
        g_gates += product(x, d_made, LOW)
    store_memories(d_squares + square, d_gates + pair, g_keys, g_values, g_gates, D, BD)
