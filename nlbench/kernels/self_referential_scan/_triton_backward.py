"""Gradients of the memories that make keys, values and gates: the chain of a program per seed and head back over its segments.

g is the gradient of a memory's D at the end of a segment, transposed as D is, Z that of T's right side: Z = Tᵀ (s K) g and
g ← γ_C g + (η (probes - γ̄ K))ᵀ Z + Xᵀ ∂raw. What only sums over memories is summed by products: all that reaches keys, probes and
the system through one kind of product adds up in one tile.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import gates_backward, load_gates, load_rows, product, store_rows
from nlbench.kernels.self_referential_scan._triton_forward import GATES, LENGTHS, columns, load_memories, store_memories


@triton.jit
def through(first, of_first, second, of_second, gates, of_gates, LOW: tl.constexpr):
    """A Bᵀ added up over the three memories."""
    both = product(first, tl.trans(of_first), LOW) + product(second, tl.trans(of_second), LOW)
    return both + product(gates, tl.trans(of_gates), LOW)


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
    drawn,
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
        reach = load_rows(drawn + row * D, first, last, 0, D, C, BD)
        z_keys, z_values, z_gates = product(reach, g_keys, LOW), product(reach, g_values, LOW), product(reach, g_gates, LOW)
        e = square_errors + place * 2 * C * D
        e_keys, e_values = load_rows(e, 0, C, 0, D, C, BD), load_rows(e + C * D, 0, C, 0, D, C, BD)
        e_gates = load_rows(gate_errors + place * 2 * C, 0, C, 0, 2, C, GATES)
        of_writes = through(e_keys, g_keys, e_values, g_values, e_gates, g_gates, LOW)
        of_system = -through(z_keys, e_keys, z_values, e_values, z_gates, e_gates, LOW)
        s_keys, s_values, s_gates = load_memories(square_states + place * 2 * D * D, gate_states + place * 2 * D, D, BD)
        of_states = through(z_keys, s_keys, z_values, s_values, z_gates, s_gates, LOW)
        d_total = tl.sum(tl.sum(s_keys * g_keys + s_values * g_values, 1), 0) + tl.sum(tl.sum(s_gates * g_gates, 1), 0)
        k, probe = load_rows(keys + row * D, first, last, 0, D, C, BD), load_rows(probes + row * D, first, last, 0, D, C, BD)
        moved = probe - before[:, None] * k
        pull = tl.trans(eta[:, None] * moved)
        g_keys = total * g_keys + product(pull, z_keys, LOW)
        g_values = total * g_values + product(pull, z_values, LOW)
        g_gates = total * g_gates + product(pull, z_gates, LOW)
        of_probes = z_keys + z_values
        if HOME:
            h_keys, h_values, h_gates = load_memories(homes + square, home_gates + pair, D, BD)
            of_probes += through(z_keys, h_keys, z_values, h_values, z_gates, h_gates, LOW)
            right = eta[:, None]
            store_pair(rights + row * 2 * D, right * z_keys, right * z_values, first, last, D, C, BD)
            store_rows(gate_rights + row * 2, right * z_gates, first, last, 0, 2, C, GATES)
        d_eta = tl.sum(probe * of_probes + moved * of_states, 1)
        d_before, d_after = -eta * tl.sum(k * of_states, 1), tl.sum(k * of_writes, 1)
        d_k = load_rows(d_keys + row * D, first, last, 0, D, C, BD) + after[:, None] * of_writes
        d_k -= (eta * before)[:, None] * of_states
        d_probe = load_rows(d_probes + row * D, first, last, 0, D, C, BD) + eta[:, None] * (of_probes + of_states)
        between, similarity = load_rows(betweens + tile, 0, C, 0, C, C, C), load_rows(similarities + tile, 0, C, 0, C, C, C)
        token = tl.arange(0, C)
        of_system = tl.where(token[:, None] > token[None, :], of_system, 0.0)
        d_eta += tl.sum(of_system * between * similarity, 1)
        of_system = eta[:, None] * of_system
        d_similarity = between * of_system
        d_k += product(d_similarity + tl.trans(d_similarity), k, LOW)
        inside = first + token < last
        kept = load_gates(shares + 2 * row + tokens, first, last, 1.0, C)
        alpha = tl.where(inside, retain_min + (1 - retain_min) * kept, 1.0)
        held = similarity * d_similarity
        d_alpha = gates_backward(alpha, between, before, after, similarity * of_system, held, d_before, d_after, d_total, C, LOW)
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
        x = tl.trans(load_rows(inputs + row * D, first, last, 0, D, C, BD))
        g_keys, g_values = g_keys + product(x, d_k, LOW), g_values + product(x, d_probe, LOW)
        g_gates += product(x, d_made, LOW)
    store_memories(d_squares + square, d_gates + pair, g_keys, g_values, g_gates, D, BD)
