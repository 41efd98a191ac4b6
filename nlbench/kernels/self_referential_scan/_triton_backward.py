"""Gradients of the memories that make keys, values and gates: the chain of a program per seed and head back over its segments.

g is the gradient of a memory's D at the end of a segment, transposed as D is, η Z that of its gaps: Z = Tᵀ (s K) g and
g ← γ_C g + (η (probes - γ̄ K))ᵀ Z + Xᵀ ∂raw. What reaches keys, probes and the system adds up over the memories in one tile each.

Per segment and program: `5 C d² + 3 C² d` multiply-adds for each of two memories, in a chain of four dependent products and two
sums over rows; the tiles of the next segment are loaded meanwhile.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import gates_backward, load_gates, load_rows, load_transposed, product, store_rows
from nlbench.kernels.self_referential_scan._triton_forward import GATES, LENGTHS, columns, load_memories, store_memories


@triton.jit
def memory_backward(
    g, errors, states, reach, pull, total, D: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BD: tl.constexpr,
    BV: tl.constexpr, LOW: tl.constexpr,
):  # fmt: skip
    """One memory's update: g at its start but for what X adds, Z, what reaches writes, system and states, and ∂γ_C by rows."""
    z = product(reach, g, LOW)
    of_writes = product(load_rows(errors, 0, C, 0, V, C, BV), tl.trans(g), LOW)
    of_system = product(z, load_transposed(errors, 0, C, 0, V, C, BV), LOW)
    of_states = product(z, load_transposed(states, 0, D, 0, V, BD, BV), LOW)
    d_total = tl.sum(load_rows(states, 0, D, 0, V, BD, BV) * g, 1)
    return total * g + product(pull, z, LOW), z, of_writes, of_system, of_states, d_total


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
    pulls,
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
        pull = load_transposed(pulls + row * D, first, last, 0, D, C, BD)
        e, state = square_errors + place * 2 * C * D, square_states + place * 2 * D * D
        g_keys, z_keys, of_writes, of_system, of_states, d_total = memory_backward(
            g_keys, e, state, reach, pull, total, D, D, C, BD, BD, LOW
        )
        g_values, z_values, t_writes, t_system, t_states, t_total = memory_backward(
            g_values, e + C * D, state + D * D, reach, pull, total, D, D, C, BD, BD, LOW
        )
        of_writes, of_system, of_states = of_writes + t_writes, of_system + t_system, of_states + t_states
        d_total += t_total
        g_gates, z_gates, t_writes, t_system, t_states, t_total = memory_backward(
            g_gates, gate_errors + place * 2 * C, gate_states + place * 2 * D, reach, pull, total, D, 2, C, BD, GATES, LOW
        )
        of_writes, of_system, of_states = of_writes + t_writes, of_system + t_system, of_states + t_states
        d_total += t_total
        of_probes = z_keys + z_values
        if HOME:
            h_keys, h_values, h_gates = load_memories(homes + square, home_gates + pair, D, BD)
            of_probes += product(z_keys, tl.trans(h_keys), LOW) + product(z_values, tl.trans(h_values), LOW)
            of_probes += product(z_gates, tl.trans(h_gates), LOW)
            right = eta[:, None]
            store_pair(rights + row * 2 * D, right * z_keys, right * z_values, first, last, D, C, BD)
            store_rows(gate_rights + row * 2, right * z_gates, first, last, 0, 2, C, GATES)
        of_probes += of_states
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
        alpha = tl.where(inside, retain_min + (1 - retain_min) * kept, 1.0)
        d_alpha = gates_backward(alpha, between, before, after, d_between, held, d_before, d_after, tl.sum(d_total, 0), C, LOW)
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
