"""What of the gradients waits for no other segment: `prepare` before the chain of `backward`, `inputs_backward` after it."""

from __future__ import annotations

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import gate_products, load_gates, load_rows, product, store_gates, store_rows
from nlbench.kernels.self_referential_scan._triton_forward import GATES, LENGTHS, load_memories, retentions


@triton.jit
def own_segment(tokens, outer_chunk):
    """The program and the number among all segments of this one, its first token and the token after its last."""
    segments = tl.cdiv(tokens, outer_chunk)
    program, place = (tl.program_id(0) // segments).to(tl.int64), tl.program_id(0).to(tl.int64)
    first = tl.program_id(0) % segments * outer_chunk
    return program, place, first, tl.minimum(first + outer_chunk, tokens)


@triton.jit(do_not_specialize=LENGTHS)
def prepare(
    keys,
    probes,
    shares,
    solved,
    betweens,
    similarities,
    reaches,
    carries,
    befores,
    afters,
    totals,
    outer_rate_max,
    retain_min,
    tokens,
    outer_chunk,
    D: tl.constexpr,
    BD: tl.constexpr,
    C: tl.constexpr,
    LOW: tl.constexpr,
):
    """Λ, K Kᵀ, γ̄, s and γ_C of one segment; R = Tᵀ s K, by which the gradient of D at its end reaches the solve, and
    (η (probes - γ̄ K))ᵀ R, by which it reaches D at its start through that.
    """
    program, place, first, last = own_segment(tokens, outer_chunk)
    row, tile = program * tokens, place * C * C
    k = load_rows(keys + row * D, first, last, 0, D, C, BD)
    kept = load_gates(shares + 2 * row + tokens, first, last, 1.0, C)
    alpha = retentions(kept, first + tl.arange(0, C) < last, retain_min)
    between, before, after, total = gate_products(alpha, C, LOW)
    store_rows(betweens + tile, between, 0, C, 0, C, C, C)
    store_rows(similarities + tile, product(k, tl.trans(k), LOW), 0, C, 0, C, C, C)
    solve = load_rows(solved + tile, 0, C, 0, C, C, C)
    reach = product(tl.trans(solve), after[:, None] * k, LOW)
    store_rows(reaches + row * D, reach, first, last, 0, D, C, BD)
    moved = load_rows(probes + row * D, first, last, 0, D, C, BD) - before[:, None] * k
    eta = outer_rate_max * load_gates(shares + 2 * row, first, last, 0.0, C)
    store_rows(carries + place * D * D, product(tl.trans(eta[:, None] * moved), reach, LOW), 0, D, 0, D, BD, BD)
    store_gates(befores + row, before, first, last, C)
    store_gates(afters + row, after, first, last, C)
    tl.store(totals + place, total)


@triton.jit(do_not_specialize=LENGTHS)
def inputs_backward(
    d_raw,
    d_raw_gates,
    square_states,
    gate_states,
    homes,
    home_gates,
    d_inputs,
    tokens,
    outer_chunk,
    D: tl.constexpr,
    BD: tl.constexpr,
    C: tl.constexpr,
    HOME: tl.constexpr,
    LOW: tl.constexpr,
):
    """What reaches one segment's inputs through keys, values and gates."""
    program, place, first, last = own_segment(tokens, outer_chunk)
    row = program * tokens
    w_keys, w_values, w_gates = load_memories(square_states + place * 2 * D * D, gate_states + place * 2 * D, D, BD)
    if HOME:
        home_keys, home_values, home_gate = load_memories(homes + program * 2 * D * D, home_gates + program * 2 * D, D, BD)
        w_keys, w_values, w_gates = w_keys + home_keys, w_values + home_values, w_gates + home_gate
    token, place = first + tl.arange(0, C), tl.arange(0, BD)
    inside, d_raw = (token < last)[:, None] & (place < D)[None, :], d_raw + (row + token)[:, None] * 2 * D + place[None, :]
    d_keys = tl.load(d_raw, mask=inside, other=0.0).to(tl.float32)
    d_values = tl.load(d_raw + D, mask=inside, other=0.0).to(tl.float32)
    d_gates = load_rows(d_raw_gates + row * 2, first, last, 0, 2, C, GATES)
    dx = d_keys + product(d_keys, tl.trans(w_keys), LOW) + d_values + product(d_values, tl.trans(w_values), LOW)
    dx += product(d_gates, tl.trans(w_gates), LOW)
    store_rows(d_inputs + row * D, dx, first, last, 0, D, C, BD)
