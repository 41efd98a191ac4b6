"""Gradients of the fused self-referential block: a program per seed and head goes back over its segments.

Every segment is computed again from the weights saved at its start, and those of the memory at its chunks' starts. Gradients of
the weights are held transposed: `g_…` with respect to D = W - W_initial, `b_…` with respect to W_initial where D stays as it is.

Triton 3.6 compiles `backward` for compute capability 9.0 at float32, width 16 and one clock; the compiler of Triton 3.9 fails an
assertion of LLVM's there, which ends the process.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import gate_products, load_rows, product, products_backward, store_rows, unit_lower_inverse
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


@triton.jit
def square_backward(g, w, home, k, probe, eta, before, after, total, inverse, e, d_e, LOW: tl.constexpr):
    """One square memory's update: g enters as the gradient of the end and leaves as the start's; d_e reached E through reads."""
    d = w - home
    prediction = product(k, d, LOW)
    z = product(k, g, LOW)
    dy = product(tl.trans(inverse), after[:, None] * z + d_e, LOW)
    dr = eta[:, None] * dy
    to_base = product(tl.trans(probe), dr, LOW)
    found = total * g - product(tl.trans(k), before[:, None] * dr, LOW) + to_base
    d_k = product(after[:, None] * e, tl.trans(g), LOW) - product(before[:, None] * dr, tl.trans(d), LOW)
    d_probe = dr + product(dr, tl.trans(w), LOW)
    gap = answers(probe, w, LOW) - before[:, None] * prediction
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
def projection_backward(
    x,
    inside,
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
    L2: tl.constexpr,
    NORMALIZE: tl.constexpr,
    LOW: tl.constexpr,
):
    """What reaches the inputs, the four weights and the two biases that made keys, probes and gates."""
    if L2:
        d_k -= d_probe
    d_keys = unit_backward(answers(x, w_keys, LOW), d_k, True)
    d_values = unit_backward(answers(x, w_values, LOW), d_probe, NORMALIZE)
    share = sigmoid(tl.sum(x * w_rate[None, :], 1) + rate_bias)
    kept = sigmoid(tl.sum(x * w_retain[None, :], 1) + retain_bias)
    d_rate = tl.where(inside, most * d_eta * share * (1 - share), 0.0)
    d_retain = tl.where(inside, (1 - floor) * d_alpha * kept * (1 - kept), 0.0)
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
    e = errors(w, home, k, probe, eta, before, inverse, LOW)
    dq, to_state, to_base, d_e, more_k, d_between, more_before = read_backward(q, do, w, home, k, e, between, before, EXACT, LOW)
    store_rows(d_queries, dq, start, stop, 0, D, C, BD)
    g, part, d_k, d_probe, d_system, d_eta, d_before, d_after, d_total = square_backward(
        g, w, home, k, probe, eta, before, after, total, inverse, e, d_e, LOW
    )
    mask_k, mask_eta, d_alpha = masks_backward(
        k, eta, between, before, after, d_system, d_between, d_before + more_before, d_after, d_total, C, LOW
    )
    dx, to_keys, to_values, to_rate, to_retain, to_rate_bias, to_retain_bias = projection_backward(
        x, start + tl.arange(0, C) < stop, w_keys, w_values, w_rate, w_retain, rate_bias, retain_bias, most, floor,
        d_k + more_k + mask_k, d_probe, d_eta + mask_eta, d_alpha, L2, NORMALIZE, LOW,
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
    d_outputs,
    d_final,
    d_final_gates,
    d_inputs,
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
    """The gradients of one program's tokens, weights and biases, last segment first."""
    program = tl.program_id(0).to(tl.int64)
    size: tl.constexpr = D * D
    rows = program * tokens * D
    segments = tl.cdiv(tokens, outer_chunk)
    outer_states += program * segments * 2 * size
    gate_states += program * segments * 2 * D
    inner_states += program * tl.cdiv(tokens, chunk) * size
    squares, vectors = program * 3 * size, program * 2 * D
    g_keys = load_rows(d_final + squares, 0, D, 0, D, BD, BD)
    g_values = load_rows(d_final + squares + size, 0, D, 0, D, BD, BD)
    g_memory = load_rows(d_final + squares + 2 * size, 0, D, 0, D, BD, BD)
    g_rate, g_retain = load_vector(d_final_gates + vectors, D, BD), load_vector(d_final_gates + vectors + D, D, BD)
    rate_bias, retain_bias = tl.load(biases + program * 2).to(tl.float32), tl.load(biases + program * 2 + 1).to(tl.float32)
    home_k, home_r = tl.zeros((BD, BD), tl.float32), tl.zeros((BD,), tl.float32)
    home_v, home_m, home_a = home_k, home_k, home_r
    b_keys, b_values, b_memory, b_rate, b_retain = home_k, home_k, home_k, home_r, home_r
    d_rate_bias, d_retain_bias = tl.sum(home_r, 0), tl.sum(home_r, 0)
    for back in range(segments):
        segment = segments - 1 - back
        first = segment * outer_chunk
        last = tl.minimum(first + outer_chunk, tokens)
        w_keys = load_rows(outer_states + segment * 2 * size, 0, D, 0, D, BD, BD)
        w_values = load_rows(outer_states + segment * 2 * size + size, 0, D, 0, D, BD, BD)
        w_rate = load_vector(gate_states + segment * 2 * D, D, BD)
        w_retain = load_vector(gate_states + segment * 2 * D + D, D, BD)
        if HOME:
            home_k = load_rows(homes + squares, 0, D, 0, D, BD, BD)
            home_v = load_rows(homes + squares + size, 0, D, 0, D, BD, BD)
            home_m = load_rows(homes + squares + 2 * size, 0, D, 0, D, BD, BD)
            home_r, home_a = load_vector(home_gates + vectors, D, BD), load_vector(home_gates + vectors + D, D, BD)
        x = load_rows(inputs + rows, first, last, 0, D, CO, BD)
        k, probe = keys_and_probes(x, w_keys, w_values, L2, NORMALIZE, LOW)
        eta = rates(x, first, last, w_rate, rate_bias, outer_rate_max, CO)
        alpha = retentions(x, first, last, w_retain, retain_bias, retain_min, CO)
        lam, before, after, total = gate_products(alpha, CO, LOW)
        inverse = unit_lower_inverse(eta[:, None] * lam * product(k, tl.trans(k), LOW), CO, LOW)
        e = errors(w_keys, home_k, k, probe, eta, before, inverse, LOW)
        g_keys, part, d_k, d_probe, d_system, d_eta, d_before, d_after, d_total = square_backward(
            g_keys, w_keys, home_k, k, probe, eta, before, after, total, inverse, e, e * 0, LOW
        )
        b_keys += part
        e = errors(w_values, home_v, k, probe, eta, before, inverse, LOW)
        g_values, part, t_k, t_probe, t_system, t_eta, t_before, t_after, t_total = square_backward(
            g_values, w_values, home_v, k, probe, eta, before, after, total, inverse, e, e * 0, LOW
        )
        b_values += part
        d_k, d_probe, d_system, d_eta, d_before = (
            d_k + t_k,
            d_probe + t_probe,
            d_system + t_system,
            d_eta + t_eta,
            d_before + t_before,
        )
        d_after, d_total = d_after + t_after, d_total + t_total
        g_rate, row, t_k, t_probe, t_system, t_eta, t_before, t_after, t_total = gate_backward(
            g_rate, w_rate, home_r, k, probe, eta, before, after, total, inverse
        )
        b_rate += row
        d_k, d_probe, d_system, d_eta, d_before = (
            d_k + t_k,
            d_probe + t_probe,
            d_system + t_system,
            d_eta + t_eta,
            d_before + t_before,
        )
        d_after, d_total = d_after + t_after, d_total + t_total
        g_retain, row, t_k, t_probe, t_system, t_eta, t_before, t_after, t_total = gate_backward(
            g_retain, w_retain, home_a, k, probe, eta, before, after, total, inverse
        )
        b_retain += row
        d_k, d_probe, d_system, d_eta, d_before = (
            d_k + t_k,
            d_probe + t_probe,
            d_system + t_system,
            d_eta + t_eta,
            d_before + t_before,
        )
        d_after, d_total = d_after + t_after, d_total + t_total
        d_lam = d_system * 0
        if SHARED:
            w_memory = load_rows(inner_states + segment * size, 0, D, 0, D, BD, BD)
            q = load_rows(queries + rows, first, last, 0, D, CO, BD)
            do = load_rows(d_outputs + rows, first, last, 0, D, CO, BD)
            e = errors(w_memory, home_m, k, probe, eta, before, inverse, LOW)
            dq, to_state, to_base, d_e, t_k, d_lam, t_before = read_backward(
                q, do, w_memory, home_m, k, e, lam, before, EXACT, LOW
            )
            store_rows(d_queries + rows, dq, first, last, 0, D, CO, BD)
            d_k, d_before = d_k + t_k, d_before + t_before
            g_memory, part, t_k, t_probe, t_system, t_eta, t_before, t_after, t_total = square_backward(
                g_memory, w_memory, home_m, k, probe, eta, before, after, total, inverse, e, d_e, LOW
            )
            g_memory += to_state
            b_memory += part + to_base
            d_k, d_probe, d_system, d_eta, d_before = (
                d_k + t_k,
                d_probe + t_probe,
                d_system + t_system,
                d_eta + t_eta,
                d_before + t_before,
            )
            d_after, d_total = d_after + t_after, d_total + t_total
        t_k, t_eta, d_alpha = masks_backward(k, eta, lam, before, after, d_system, d_lam, d_before, d_after, d_total, CO, LOW)
        dx, to_k, to_v, to_r, to_a, bias_r, bias_a = projection_backward(
            x, first + tl.arange(0, CO) < last, w_keys, w_values, w_rate, w_retain, rate_bias, retain_bias, outer_rate_max,
            retain_min, d_k + t_k, d_probe, d_eta + t_eta, d_alpha, L2, NORMALIZE, LOW,
        )  # fmt: skip
        store_rows(d_inputs + rows, dx, first, last, 0, D, CO, BD)
        g_keys, g_values, g_rate, g_retain = g_keys + to_k, g_values + to_v, g_rate + to_r, g_retain + to_a
        b_keys, b_values, b_rate, b_retain = b_keys + to_k, b_values + to_v, b_rate + to_r, b_retain + to_a
        d_rate_bias, d_retain_bias = d_rate_bias + bias_r, d_retain_bias + bias_a
        if not SHARED:
            chunks = tl.cdiv(last - first, chunk)
            for behind in range(chunks):
                start = first + (chunks - 1 - behind) * chunk
                stop = tl.minimum(start + chunk, last)
                inner_w = load_rows(inner_states + (start // chunk) * size, 0, D, 0, D, BD, BD)
                g_memory, part, to_k, to_v, to_r, to_a, bias_r, bias_a = chunk_backward(
                    inputs + rows, queries + rows, d_outputs + rows, d_inner_inputs + rows, d_queries + rows, start, stop,
                    g_memory, inner_w, home_m, w_keys, w_values, w_rate, w_retain, rate_bias, retain_bias, rate_max, retain_min,
                    D, BD, CI, L2, EXACT, NORMALIZE, LOW,
                )  # fmt: skip
                b_memory += part
                g_keys, g_values, g_rate, g_retain = g_keys + to_k, g_values + to_v, g_rate + to_r, g_retain + to_a
                b_keys, b_values, b_rate, b_retain = b_keys + to_k, b_values + to_v, b_rate + to_r, b_retain + to_a
                d_rate_bias, d_retain_bias = d_rate_bias + bias_r, d_retain_bias + bias_a
    store_rows(d_squares + squares, g_keys, 0, D, 0, D, BD, BD)
    store_rows(d_squares + squares + size, g_values, 0, D, 0, D, BD, BD)
    store_rows(d_squares + squares + 2 * size, g_memory, 0, D, 0, D, BD, BD)
    store_vector(d_gates + vectors, g_rate, D, BD)
    store_vector(d_gates + vectors + D, g_retain, D, BD)
    if HOME:
        store_rows(d_homes + squares, b_keys, 0, D, 0, D, BD, BD)
        store_rows(d_homes + squares + size, b_values, 0, D, 0, D, BD, BD)
        store_rows(d_homes + squares + 2 * size, b_memory, 0, D, 0, D, BD, BD)
        store_vector(d_home_gates + vectors, b_rate, D, BD)
        store_vector(d_home_gates + vectors + D, b_retain, D, BD)
    tl.store(d_biases + program * 2, d_rate_bias)
    tl.store(d_biases + program * 2 + 1, d_retain_bias)
