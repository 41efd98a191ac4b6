"""The parts of the self-referential block's gradients that wait for no other segment: `prepare` before the chain of `backward`,
`inputs_backward` after it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import gate_products, load_gates, load_rows, product, store_gates, store_rows, unit_lower_inverse
from nlbench.kernels.self_referential_scan._triton_forward import (
    LENGTHS,
    answers,
    errors,
    load_vector,
    rates,
    retentions,
    unit_rows,
)


@triton.jit
def read_backward(q, do, w, home, k, e, between, before, EXACT: tl.constexpr, LOW: tl.constexpr):
    """The gradients of `read`'s q, D, W_initial, E, k, Λ and γ̄."""
    to_base = product(tl.trans(q), do, LOW)
    if EXACT:
        d = w - home
        overlap = product(q, tl.trans(k), LOW)
        weights = product(do, tl.trans(e), LOW)
        dq = do + product(do, tl.trans(home), LOW) + product(before[:, None] * do, tl.trans(d), LOW)
        dq += product(between * weights, k, LOW)
        d_e = product(tl.trans(between * overlap), do, LOW)
        d_k = product(tl.trans(between * weights), q, LOW)
        d_before = tl.sum(do * product(q, d, LOW), 1)
        return dq, product(tl.trans(q), before[:, None] * do, LOW), to_base, d_e, d_k, weights * overlap, d_before
    else:
        return do + product(do, tl.trans(w), LOW), to_base, to_base, do * 0, do * 0, between * 0, before * 0


@triton.jit
def state_of(outer_states, inner_states, place, i, size: tl.constexpr, SHARED: tl.constexpr):
    """Where square memory i of a segment was saved: keys, values or, on a shared clock, memory."""
    outer = outer_states + (place * 2 + i) * size
    if SHARED:
        return tl.where(i < 2, outer, inner_states + place * size)
    else:
        return outer


@triton.jit(do_not_specialize=LENGTHS)
def prepare(
    inputs,
    queries,
    homes,
    biases,
    outer_states,
    gate_states,
    inner_states,
    d_outputs,
    d_queries,
    keys,
    probes,
    scales,
    solved,
    written,
    gaps,
    predictions,
    d_written,
    d_keys,
    d_masks,
    d_before,
    to_states,
    to_homes,
    outer_rate_max,
    retain_min,
    tokens,
    chunk,
    outer_chunk,
    D: tl.constexpr,
    BD: tl.constexpr,
    CO: tl.constexpr,
    SHARED: tl.constexpr,
    L2: tl.constexpr,
    EXACT: tl.constexpr,
    NORMALIZE: tl.constexpr,
    HOME: tl.constexpr,
    LOW: tl.constexpr,
):
    """One segment again, and all its gradients that wait for no later segment: keys, probes, T, every E, and what reads reach."""
    size: tl.constexpr = D * D
    segments = tl.cdiv(tokens, outer_chunk)
    program, segment = (tl.program_id(0) // segments).to(tl.int64), tl.program_id(0) % segments
    place = tl.program_id(0).to(tl.int64)
    first = segment * outer_chunk
    last = tl.minimum(first + outer_chunk, tokens)
    rows = program * tokens * D
    w_keys = load_rows(outer_states + place * 2 * size, 0, D, 0, D, BD, BD)
    w_values = load_rows(outer_states + place * 2 * size + size, 0, D, 0, D, BD, BD)
    w_rate = load_vector(gate_states + place * 2 * D, D, BD)
    w_retain = load_vector(gate_states + place * 2 * D + D, D, BD)
    rate_bias, retain_bias = tl.load(biases + program * 2).to(tl.float32), tl.load(biases + program * 2 + 1).to(tl.float32)
    x = load_rows(inputs + rows, first, last, 0, D, CO, BD)
    raw = answers(x, w_keys, LOW)
    scale = unit_rows(raw, True)
    k = raw * scale[:, None]
    store_gates(scales + 2 * program * tokens, scale, first, last, CO)
    probe = answers(x, w_values, LOW)
    scale = unit_rows(probe, NORMALIZE)
    probe *= scale[:, None]
    store_gates(scales + 2 * program * tokens + tokens, scale, first, last, CO)
    if L2:
        probe -= k
    store_rows(keys + rows, k, first, last, 0, D, CO, BD)
    store_rows(probes + rows, probe, first, last, 0, D, CO, BD)
    eta = rates(x, first, last, w_rate, rate_bias, outer_rate_max, CO)
    between, before, _, _ = gate_products(retentions(x, first, last, w_retain, retain_bias, retain_min, CO), CO, LOW)
    inverse = unit_lower_inverse(eta[:, None] * between * product(k, tl.trans(k), LOW), CO, LOW)
    store_rows(solved + place * CO * CO, inverse, 0, CO, 0, CO, CO, CO)
    home = tl.zeros((BD, BD), tl.float32)
    for i in range(3 if SHARED else 2):
        w = load_rows(state_of(outer_states, inner_states, place, i, size, SHARED), 0, D, 0, D, BD, BD)
        if HOME:
            home = load_rows(homes + (program * 3 + i) * size, 0, D, 0, D, BD, BD)
        e, gap, prediction = errors(w, home, k, probe, eta, before, inverse, LOW)
        saved = (place * 3 + i) * CO * D
        store_rows(written + saved, e, 0, CO, 0, D, CO, BD)
        store_rows(gaps + saved, gap, 0, CO, 0, D, CO, BD)
        store_rows(predictions + saved, prediction, 0, CO, 0, D, CO, BD)
    if SHARED:
        w = load_rows(inner_states + place * size, 0, D, 0, D, BD, BD)
        if HOME:
            home = load_rows(homes + (program * 3 + 2) * size, 0, D, 0, D, BD, BD)
        e, _, _ = errors(w, home, k, probe, eta, before, inverse, LOW)
        q = load_rows(queries + rows, first, last, 0, D, CO, BD)
        do = load_rows(d_outputs + rows, first, last, 0, D, CO, BD)
        dq, to_state, to_home, d_e, d_k, d_between, more = read_backward(q, do, w, home, k, e, between, before, EXACT, LOW)
        store_rows(d_queries + rows, dq, first, last, 0, D, CO, BD)
        store_rows(to_states + place * size, to_state, 0, D, 0, D, BD, BD)
        if EXACT:
            store_rows(to_homes + place * size, to_home, 0, D, 0, D, BD, BD)
            store_rows(d_written + rows, d_e, first, last, 0, D, CO, BD)
            store_rows(d_keys + rows, d_k, first, last, 0, D, CO, BD)
            store_rows(d_masks + place * CO * CO, d_between, 0, CO, 0, CO, CO, CO)
            store_gates(d_before + program * tokens, more, first, last, CO)


@triton.jit(do_not_specialize=("tokens", "outer_chunk"))
def inputs_backward(
    d_raw_keys,
    d_raw_values,
    d_raw_gates,
    outer_states,
    gate_states,
    d_inputs,
    tokens,
    outer_chunk,
    D: tl.constexpr,
    BD: tl.constexpr,
    CO: tl.constexpr,
    LOW: tl.constexpr,
):
    """What reaches one segment's inputs through keys, values and gates."""
    size: tl.constexpr = D * D
    segments = tl.cdiv(tokens, outer_chunk)
    program, place = (tl.program_id(0) // segments).to(tl.int64), tl.program_id(0).to(tl.int64)
    first = tl.program_id(0) % segments * outer_chunk
    last = tl.minimum(first + outer_chunk, tokens)
    rows = program * tokens * D
    d_keys = load_rows(d_raw_keys + rows, first, last, 0, D, CO, BD)
    d_values = load_rows(d_raw_values + rows, first, last, 0, D, CO, BD)
    dx = d_keys + product(d_keys, tl.trans(load_rows(outer_states + place * 2 * size, 0, D, 0, D, BD, BD)), LOW)
    dx += d_values + product(d_values, tl.trans(load_rows(outer_states + place * 2 * size + size, 0, D, 0, D, BD, BD)), LOW)
    d_rates = load_gates(d_raw_gates + 2 * program * tokens, first, last, 0.0, CO)
    d_retentions = load_gates(d_raw_gates + 2 * program * tokens + tokens, first, last, 0.0, CO)
    dx += d_rates[:, None] * load_vector(gate_states + place * 2 * D, D, BD)[None, :]
    dx += d_retentions[:, None] * load_vector(gate_states + place * 2 * D + D, D, BD)[None, :]
    store_rows(d_inputs + rows, dx, first, last, 0, D, CO, BD)
