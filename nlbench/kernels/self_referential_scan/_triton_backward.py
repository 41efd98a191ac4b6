"""Gradients of the fused self-referential block: the chain of a program per seed and head back over its segments, of which
`prepare` has computed again what it could.

Chunks of a memory with a clock of its own are computed again in the chain. Gradients of the weights are held transposed: `g_…`
with respect to D = W - W_initial, `b_…` with respect to W_initial where D stays as it is.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import (
    gate_products,
    load_gates,
    load_rows,
    product,
    products_backward,
    store_gates,
    store_rows,
    unit_lower_inverse,
)
from nlbench.kernels.self_referential_scan._triton_forward import (
    LENGTHS,
    answers,
    errors,
    keys_and_probes,
    load_vector,
    rates,
    retentions,
    sigmoid,
    store_vector,
    unit_rows,
)
from nlbench.kernels.self_referential_scan._triton_segments import read_backward, state_of


@triton.jit
def square_backward(g, w, home, k, probe, eta, before, after, total, inverse, e, gap, prediction, d_e, LOW: tl.constexpr):
    """One square memory's update: g enters as the gradient of the end and leaves as the start's; d_e reached E through reads."""
    d = w - home
    z = product(k, g, LOW)
    dy = product(tl.trans(inverse), after[:, None] * z + d_e, LOW)
    dr = eta[:, None] * dy
    to_base = product(tl.trans(probe), dr, LOW)
    found = total * g - product(tl.trans(k), before[:, None] * dr, LOW) + to_base
    d_k = product(after[:, None] * e, tl.trans(g), LOW) - product(before[:, None] * dr, tl.trans(d), LOW)
    d_probe = dr + product(dr, tl.trans(w), LOW)
    d_system = -product(dy, tl.trans(e), LOW)
    d_eta, d_before = tl.sum(dy * gap, 1), -tl.sum(dr * prediction, 1)
    return found, to_base, d_k, d_probe, d_system, d_eta, d_before, tl.sum(e * z, 1), tl.sum(tl.sum(d * g, 1), 0)


@triton.jit
def gate_backward(g, w, home, k, probe, eta, before, after, total, inverse):
    """`square_backward` for a gate's row."""
    d = w - home
    prediction = tl.sum(k * d[None, :], 1)
    gap = tl.sum(probe * w[None, :], 1) - before * prediction
    e = tl.sum(inverse * (eta * gap)[None, :], 1)
    z = tl.sum(k * g[None, :], 1)
    dy = tl.sum(inverse * (after * z)[:, None], 0)
    dr = eta * dy
    to_base = tl.sum(probe * dr[:, None], 0)
    found = total * g - tl.sum(k * (before * dr)[:, None], 0) + to_base
    d_k = (after * e)[:, None] * g[None, :] - (before * dr)[:, None] * d[None, :]
    d_probe = dr[:, None] * w[None, :]
    return found, to_base, d_k, d_probe, -dy[:, None] * e[None, :], dy * gap, -dr * prediction, e * z, tl.sum(d * g, 0)


@triton.jit
def masks_backward(
    k, eta, between, before, after, d_system, d_between, d_before, d_after, d_total, C: tl.constexpr, LOW: tl.constexpr
):
    """What reaches k, η and α through the system and the masks of a tile."""
    token = tl.arange(0, C)
    lower = token[:, None] > token[None, :]
    similarity = product(k, tl.trans(k), LOW)
    d_system = tl.where(lower, d_system, 0.0)
    d_similarity = eta[:, None] * between * d_system
    d_between = tl.where(lower, d_between, 0.0) + eta[:, None] * similarity * d_system
    d_alpha = products_backward(between, before, after, d_between, d_before, d_after, d_total, LOW)
    return product(d_similarity + tl.trans(d_similarity), k, LOW), tl.sum(d_system * between * similarity, 1), d_alpha


@triton.jit
def unit_backward(raw, d_unit, NORMALIZE: tl.constexpr):
    """What reaches the raw rows through `unit_rows`."""
    if NORMALIZE:
        scale = unit_rows(raw, True)
        along = scale * scale * tl.sum(d_unit * raw, 1)
        return scale[:, None] * (d_unit - along[:, None] * raw)
    else:
        return d_unit


@triton.jit
def gate_inputs_backward(x, start, stop, w_rate, w_retain, rate_bias, retain_bias, most, floor, d_eta, d_alpha, C: tl.constexpr):
    """What reaches the numbers of which η and α are the sigmoids."""
    inside = start + tl.arange(0, C) < stop
    share = sigmoid(tl.sum(x * w_rate[None, :], 1) + rate_bias)
    kept = sigmoid(tl.sum(x * w_retain[None, :], 1) + retain_bias)
    d_rate = tl.where(inside, most * d_eta * share * (1 - share), 0.0)
    return d_rate, tl.where(inside, (1 - floor) * d_alpha * kept * (1 - kept), 0.0)


@triton.jit
def projection_backward(
    x,
    start,
    stop,
    w_keys,
    w_values,
    w_rate,
    w_retain,
    rate_bias,
    retain_bias,
    most,
    floor,
    d_k,
    d_probe,
    d_eta,
    d_alpha,
    C: tl.constexpr,
    L2: tl.constexpr,
    NORMALIZE: tl.constexpr,
    LOW: tl.constexpr,
):
    """What reaches the inputs, the four weights and the two biases that made keys, probes and gates."""
    if L2:
        d_k -= d_probe
    d_keys = unit_backward(answers(x, w_keys, LOW), d_k, True)
    d_values = unit_backward(answers(x, w_values, LOW), d_probe, NORMALIZE)
    d_rate, d_retain = gate_inputs_backward(
        x, start, stop, w_rate, w_retain, rate_bias, retain_bias, most, floor, d_eta, d_alpha, C
    )
    dx = d_keys + product(d_keys, tl.trans(w_keys), LOW) + d_values + product(d_values, tl.trans(w_values), LOW)
    dx += d_rate[:, None] * w_rate[None, :] + d_retain[:, None] * w_retain[None, :]
    to_keys, to_values = product(tl.trans(x), d_keys, LOW), product(tl.trans(x), d_values, LOW)
    to_rate, to_retain = tl.sum(x * d_rate[:, None], 0), tl.sum(x * d_retain[:, None], 0)
    return dx, to_keys, to_values, to_rate, to_retain, tl.sum(d_rate, 0), tl.sum(d_retain, 0)


@triton.jit
def chunk_backward(
    inputs,
    queries,
    d_outputs,
    d_inputs,
    d_queries,
    start,
    stop,
    g,
    w,
    home,
    w_keys,
    w_values,
    w_rate,
    w_retain,
    rate_bias,
    retain_bias,
    most,
    floor,
    D: tl.constexpr,
    BD: tl.constexpr,
    C: tl.constexpr,
    L2: tl.constexpr,
    EXACT: tl.constexpr,
    NORMALIZE: tl.constexpr,
    LOW: tl.constexpr,
):
    """One chunk of the memory alone, from projection to read: its gradients, and what reaches the weights that project."""
    x, q = load_rows(inputs, start, stop, 0, D, C, BD), load_rows(queries, start, stop, 0, D, C, BD)
    do = load_rows(d_outputs, start, stop, 0, D, C, BD)
    k, probe = keys_and_probes(x, w_keys, w_values, L2, NORMALIZE, LOW)
    eta = rates(x, start, stop, w_rate, rate_bias, most, C)
    between, before, after, total = gate_products(retentions(x, start, stop, w_retain, retain_bias, floor, C), C, LOW)
    inverse = unit_lower_inverse(eta[:, None] * between * product(k, tl.trans(k), LOW), C, LOW)
    e, gap, prediction = errors(w, home, k, probe, eta, before, inverse, LOW)
    dq, to_state, to_base, d_e, more_k, d_between, more_before = read_backward(q, do, w, home, k, e, between, before, EXACT, LOW)
    store_rows(d_queries, dq, start, stop, 0, D, C, BD)
    g, part, d_k, d_probe, d_system, d_eta, d_before, d_after, d_total = square_backward(
        g, w, home, k, probe, eta, before, after, total, inverse, e, gap, prediction, d_e, LOW
    )
    mask_k, mask_eta, d_alpha = masks_backward(
        k, eta, between, before, after, d_system, d_between, d_before + more_before, d_after, d_total, C, LOW
    )
    dx, to_keys, to_values, to_rate, to_retain, to_rate_bias, to_retain_bias = projection_backward(
        x, start, stop, w_keys, w_values, w_rate, w_retain, rate_bias, retain_bias, most, floor,
        d_k + more_k + mask_k, d_probe, d_eta + mask_eta, d_alpha, C, L2, NORMALIZE, LOW,
    )  # fmt: skip
    store_rows(d_inputs, dx, start, stop, 0, D, C, BD)
    return g + to_state, part + to_base, to_keys, to_values, to_rate, to_retain, to_rate_bias, to_retain_bias


@triton.jit(do_not_specialize=LENGTHS)
def backward(
    inputs,
    queries,
    homes,
    home_gates,
    biases,
    outer_states,
    gate_states,
    inner_states,
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
    d_before_reads,
    to_states,
    to_homes,
    d_outputs,
    d_final_gates,
    d_raw_keys,
    d_raw_values,
    d_raw_gates,
    d_inner_inputs,
    d_queries,
    d_squares,
    d_gates,
    d_homes,
    d_home_gates,
    d_biases,
    rate_max,
    outer_rate_max,
    retain_min,
    tokens,
    chunk,
    outer_chunk,
    D: tl.constexpr,
    BD: tl.constexpr,
    CI: tl.constexpr,
    CO: tl.constexpr,
    SHARED: tl.constexpr,
    L2: tl.constexpr,
    EXACT: tl.constexpr,
    NORMALIZE: tl.constexpr,
    HOME: tl.constexpr,
    LOW: tl.constexpr,
):
    """The chain of one program, last segment first. `d_squares` and `d_homes`, in float32, are read and written as it goes:
    gradients of all memories would not fit the registers.
    """
    program = tl.program_id(0).to(tl.int64)
    size: tl.constexpr = D * D
    rows = program * tokens * D
    segments = tl.cdiv(tokens, outer_chunk)
    squares, vectors = program * 3 * size, program * 2 * D
    g_rate, g_retain = load_vector(d_final_gates + vectors, D, BD), load_vector(d_final_gates + vectors + D, D, BD)
    rate_bias, retain_bias = tl.load(biases + program * 2).to(tl.float32), tl.load(biases + program * 2 + 1).to(tl.float32)
    home, home_r = tl.zeros((BD, BD), tl.float32), tl.zeros((BD,), tl.float32)
    home_a, b_rate, b_retain = home_r, home_r, home_r
    if HOME:
        home_r, home_a = load_vector(home_gates + vectors, D, BD), load_vector(home_gates + vectors + D, D, BD)
    d_rate_bias, d_retain_bias = tl.sum(home_r * 0, 0), tl.sum(home_r * 0, 0)
    for back in range(segments):
        segment = segments - 1 - back
        place = program * segments + segment
        first = segment * outer_chunk
        last = tl.minimum(first + outer_chunk, tokens)
        w_rate = load_vector(gate_states + place * 2 * D, D, BD)
        w_retain = load_vector(gate_states + place * 2 * D + D, D, BD)
        x = load_rows(inputs + rows, first, last, 0, D, CO, BD)
        k = load_rows(keys + rows, first, last, 0, D, CO, BD)
        probe = load_rows(probes + rows, first, last, 0, D, CO, BD)
        inverse = load_rows(solved + place * CO * CO, 0, CO, 0, CO, CO, CO)
        eta = rates(x, first, last, w_rate, rate_bias, outer_rate_max, CO)
        lam, before, after, total = gate_products(retentions(x, first, last, w_retain, retain_bias, retain_min, CO), CO, LOW)
        g_rate, row, d_k, d_probe, d_system, d_eta, d_before, d_after, d_total = gate_backward(
            g_rate, w_rate, home_r, k, probe, eta, before, after, total, inverse
        )
        b_rate += row
        g_retain, row, t_k, t_probe, t_system, t_eta, t_before, t_after, t_total = gate_backward(
            g_retain, w_retain, home_a, k, probe, eta, before, after, total, inverse
        )
        b_retain += row
        d_k, d_probe, d_system = d_k + t_k, d_probe + t_probe, d_system + t_system
        d_eta, d_before, d_after, d_total = d_eta + t_eta, d_before + t_before, d_after + t_after, d_total + t_total
        if SHARED and EXACT:
            d_k += load_rows(d_keys + rows, first, last, 0, D, CO, BD)
            d_before += load_gates(d_before_reads + program * tokens, first, last, 0.0, CO)
        for i in range(3 if SHARED else 2):
            w = load_rows(state_of(outer_states, inner_states, place, i, size, SHARED), 0, D, 0, D, BD, BD)
            if HOME:
                home = load_rows(homes + squares + i * size, 0, D, 0, D, BD, BD)
            saved = (place * 3 + i) * CO * D
            e = load_rows(written + saved, 0, CO, 0, D, CO, BD)
            gap = load_rows(gaps + saved, 0, CO, 0, D, CO, BD)
            prediction = load_rows(predictions + saved, 0, CO, 0, D, CO, BD)
            d_e = e * 0
            if SHARED and EXACT:
                d_e = load_rows(d_written + rows, first, tl.where(i == 2, last, first), 0, D, CO, BD)
            g = load_rows(d_squares + squares + i * size, 0, D, 0, D, BD, BD)
            g, to_home, t_k, t_probe, t_system, t_eta, t_before, t_after, t_total = square_backward(
                g, w, home, k, probe, eta, before, after, total, inverse, e, gap, prediction, d_e, LOW
            )
            if SHARED:
                reached = load_rows(to_states + place * size, 0, tl.where(i == 2, D, 0), 0, D, BD, BD)
                g += reached
                if EXACT:
                    reached = load_rows(to_homes + place * size, 0, tl.where(i == 2, D, 0), 0, D, BD, BD)
                to_home += reached
            store_rows(d_squares + squares + i * size, g, 0, D, 0, D, BD, BD)
            if HOME:
                to_home += load_rows(d_homes + squares + i * size, 0, D, 0, D, BD, BD)
                store_rows(d_homes + squares + i * size, to_home, 0, D, 0, D, BD, BD)
            d_k, d_probe, d_system = d_k + t_k, d_probe + t_probe, d_system + t_system
            d_eta, d_before, d_after, d_total = d_eta + t_eta, d_before + t_before, d_after + t_after, d_total + t_total
        x = load_rows(inputs + rows, first, last, 0, D, CO, BD)  # these again: the loop above leaves them no registers
        k = load_rows(keys + rows, first, last, 0, D, CO, BD)
        alpha = retentions(x, first, last, w_retain, retain_bias, retain_min, CO)
        lam, before, after, total = gate_products(alpha, CO, LOW)
        d_lam = d_system * 0
        if SHARED and EXACT:
            d_lam = load_rows(d_masks + place * CO * CO, 0, CO, 0, CO, CO, CO)
        t_k, t_eta, d_alpha = masks_backward(k, eta, lam, before, after, d_system, d_lam, d_before, d_after, d_total, CO, LOW)
        d_k += t_k
        probe = load_rows(probes + rows, first, last, 0, D, CO, BD)
        if L2:
            d_k -= d_probe
            probe += k
        scale = load_gates(scales + 2 * program * tokens, first, last, 0.0, CO)
        d_k = scale[:, None] * (d_k - tl.sum(d_k * k, 1)[:, None] * k)
        if NORMALIZE:
            scale = load_gates(scales + 2 * program * tokens + tokens, first, last, 0.0, CO)
            d_probe = scale[:, None] * (d_probe - tl.sum(d_probe * probe, 1)[:, None] * probe)
        store_rows(d_raw_keys + rows, d_k, first, last, 0, D, CO, BD)
        store_rows(d_raw_values + rows, d_probe, first, last, 0, D, CO, BD)
        d_rates, d_retentions = gate_inputs_backward(
            x, first, last, w_rate, w_retain, rate_bias, retain_bias, outer_rate_max, retain_min, d_eta + t_eta, d_alpha, CO
        )
        store_gates(d_raw_gates + 2 * program * tokens, d_rates, first, last, CO)
        store_gates(d_raw_gates + 2 * program * tokens + tokens, d_retentions, first, last, CO)
        to_k, to_v = product(tl.trans(x), d_k, LOW), product(tl.trans(x), d_probe, LOW)
        to_r, to_a = tl.sum(x * d_rates[:, None], 0), tl.sum(x * d_retentions[:, None], 0)
        bias_r, bias_a = tl.sum(d_rates, 0), tl.sum(d_retentions, 0)
        tl.debug_barrier()
        add_rows(d_squares + squares, to_k, D, BD)
        add_rows(d_squares + squares + size, to_v, D, BD)
        if HOME:
            add_rows(d_homes + squares, to_k, D, BD)
            add_rows(d_homes + squares + size, to_v, D, BD)
        g_rate, g_retain, b_rate, b_retain = g_rate + to_r, g_retain + to_a, b_rate + to_r, b_retain + to_a
        d_rate_bias, d_retain_bias = d_rate_bias + bias_r, d_retain_bias + bias_a
        if not SHARED:
            chunks = tl.cdiv(last - first, chunk)
            w_keys = load_rows(outer_states + place * 2 * size, 0, D, 0, D, BD, BD)
            w_values = load_rows(outer_states + place * 2 * size + size, 0, D, 0, D, BD, BD)
            g_memory = load_rows(d_squares + squares + 2 * size, 0, D, 0, D, BD, BD)
            b_memory, t_keys, t_values = (
                tl.zeros((BD, BD), tl.float32),
                tl.zeros((BD, BD), tl.float32),
                tl.zeros((BD, BD), tl.float32),
            )
            if HOME:
                home = load_rows(homes + squares + 2 * size, 0, D, 0, D, BD, BD)
            for behind in range(chunks):
                start = first + (chunks - 1 - behind) * chunk
                stop = tl.minimum(start + chunk, last)
                saved = inner_states + (program * tl.cdiv(tokens, chunk) + start // chunk) * size
                g_memory, part, to_k, to_v, to_r, to_a, bias_r, bias_a = chunk_backward(
                    inputs + rows, queries + rows, d_outputs + rows, d_inner_inputs + rows, d_queries + rows, start, stop,
                    g_memory, load_rows(saved, 0, D, 0, D, BD, BD), home, w_keys, w_values, w_rate, w_retain, rate_bias,
                    retain_bias, rate_max, retain_min, D, BD, CI, L2, EXACT, NORMALIZE, LOW,
                )  # fmt: skip
                b_memory, t_keys, t_values = b_memory + part, t_keys + to_k, t_values + to_v
                g_rate, g_retain, b_rate, b_retain = g_rate + to_r, g_retain + to_a, b_rate + to_r, b_retain + to_a
                d_rate_bias, d_retain_bias = d_rate_bias + bias_r, d_retain_bias + bias_a
            store_rows(d_squares + squares + 2 * size, g_memory, 0, D, 0, D, BD, BD)
            tl.debug_barrier()
            add_rows(d_squares + squares, t_keys, D, BD)
            add_rows(d_squares + squares + size, t_values, D, BD)
            if HOME:
                add_rows(d_homes + squares, t_keys, D, BD)
                add_rows(d_homes + squares + size, t_values, D, BD)
                add_rows(d_homes + squares + 2 * size, b_memory, D, BD)
        tl.debug_barrier()
    store_vector(d_gates + vectors, g_rate, D, BD)
    store_vector(d_gates + vectors + D, g_retain, D, BD)
    if HOME:
        store_vector(d_home_gates + vectors, b_rate, D, BD)
        store_vector(d_home_gates + vectors + D, b_retain, D, BD)
    tl.store(d_biases + program * 2, d_rate_bias)
    tl.store(d_biases + program * 2 + 1, d_retain_bias)


@triton.jit
def add_rows(pointer, values, D: tl.constexpr, BD: tl.constexpr):
    """Add to a square matrix in memory."""
    store_rows(pointer, load_rows(pointer, 0, D, 0, D, BD, BD) + values, 0, D, 0, D, BD, BD)
