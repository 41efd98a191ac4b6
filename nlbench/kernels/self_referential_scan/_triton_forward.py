"""The self-referential block as one fused Triton kernel: a program per seed and head, its five memories resident.

Weights are held transposed, (d_in, d_out), and a segment of C_o tokens is one tile. Memories learn on D = W - W_initial with
targets read from W: E = T η (probes (I + W)ᵀ - γ̄ K Dᵀ), W_C = W_initial + γ_C D + (s E)ᵀ K. T = (I + A)⁻¹ serves all that share a
clock.

Per segment and program, of one clock: `10 C d² + 8 C² d + ⅔ C³` multiply-adds in a chain of about eight dependent products;
`2 C d` elements read or written and `3 d²` saved for the backward pass.
"""

from __future__ import annotations

from typing import Final

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import (
    gate_products,
    load_rows,
    product,
    store_rows,
    unit_lower_inverse,
)
from nlbench.kernels.self_referential_scan import reference

TINY: Final = tl.constexpr(reference.TINY)
LENGTHS = ("tokens", "chunk", "outer_chunk")


@triton.jit
def load_vector(pointer, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """One row, padded with zeros, in float32."""
    place = tl.arange(0, BLOCK)
    return tl.load(pointer + place, mask=place < SIZE, other=0.0).to(tl.float32)


@triton.jit
def store_vector(pointer, values, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """The inverse of `load_vector`."""
    place = tl.arange(0, BLOCK)
    tl.store(pointer + place, values.to(pointer.dtype.element_ty), mask=place < SIZE)


@triton.jit
def sigmoid(z):
    """1 / (1 + e⁻ᶻ)."""
    return tl.div_rn(z * 0 + 1, 1 + tl.exp(-z))


@triton.jit
def unit_rows(raw, NORMALIZE: tl.constexpr):
    """The scale that makes every row one unit long; 1 where rows stay as they are."""
    squared = tl.sum(raw * raw, 1)
    if NORMALIZE:
        return tl.div_rn(squared * 0 + 1, tl.sqrt_rn(squared + TINY))
    else:
        return squared * 0 + 1


@triton.jit
def answers(x, w, LOW: tl.constexpr):
    """x + W x of every row."""
    return x + product(x, w, LOW)


@triton.jit
def retentions(x, start, stop, w, bias, floor, C: tl.constexpr):
    """α of every token, 1 for padding."""
    return tl.where(start + tl.arange(0, C) < stop, floor + (1 - floor) * sigmoid(tl.sum(x * w[None, :], 1) + bias), 1.0)


@triton.jit
def rates(x, start, stop, w, bias, most, C: tl.constexpr):
    """η of every token, 0 for padding."""
    return tl.where(start + tl.arange(0, C) < stop, most * sigmoid(tl.sum(x * w[None, :], 1) + bias), 0.0)


@triton.jit
def keys_and_probes(x, w_keys, w_values, L2: tl.constexpr, NORMALIZE: tl.constexpr, LOW: tl.constexpr):
    """k, and what its memories are asked for their targets."""
    raw = answers(x, w_keys, LOW)
    k = raw * unit_rows(raw, True)[:, None]
    raw = answers(x, w_values, LOW)
    v = raw * unit_rows(raw, NORMALIZE)[:, None]
    if L2:
        return k, v - k
    else:
        return k, v


@triton.jit
def errors(w, home, k, probe, eta, before, inverse, LOW: tl.constexpr):
    """E of a square memory, what reaches it token by token, and what it comes from: the gap to its targets and its prediction."""
    prediction = product(k, w - home, LOW)
    gap = answers(probe, w, LOW) - before[:, None] * prediction
    return product(inverse, eta[:, None] * gap, LOW), gap, prediction


@triton.jit
def written(w, home, k, e, after, total, LOW: tl.constexpr):
    """A square memory after the tile."""
    return home + total * (w - home) + product(tl.trans(k), after[:, None] * e, LOW)


@triton.jit
def written_gate(w, home, k, probe, eta, before, after, total, inverse):
    """A gate's row after the tile: it reads w · z, so its own answer to a probe has no identity."""
    gap = tl.sum(probe * w[None, :], 1) - before * tl.sum(k * (w - home)[None, :], 1)
    e = tl.sum(inverse * (eta * gap)[None, :], 1)
    return home + total * (w - home) + tl.sum(k * (after * e)[:, None], 0)


@triton.jit
def read(q, w, home, k, e, between, before, EXACT: tl.constexpr, LOW: tl.constexpr):
    """q + W q of every token, from the tile's start or from the token before."""
    if EXACT:
        out = answers(q, home, LOW) + before[:, None] * product(q, w - home, LOW)
        return out + product(between * product(q, tl.trans(k), LOW), e, LOW)
    else:
        return answers(q, w, LOW)


@triton.jit(do_not_specialize=LENGTHS)
def forward(
    inputs,
    queries,
    squares,
    gates,
    homes,
    home_gates,
    biases,
    outputs,
    outer_states,
    gate_states,
    inner_states,
    final,
    final_gates,
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
    """All tokens of one program; saves the memory at every chunk start, the others at every segment start."""
    program = tl.program_id(0).to(tl.int64)
    size: tl.constexpr = D * D
    inputs += program * tokens * D
    queries += program * tokens * D
    outputs += program * tokens * D
    squares += program * 3 * size
    homes += program * 3 * size
    gates += program * 2 * D
    home_gates += program * 2 * D
    outer_states += program * tl.cdiv(tokens, outer_chunk) * 2 * size
    gate_states += program * tl.cdiv(tokens, outer_chunk) * 2 * D
    inner_states += program * tl.cdiv(tokens, chunk) * size
    w_keys = load_rows(squares, 0, D, 0, D, BD, BD)
    w_values = load_rows(squares + size, 0, D, 0, D, BD, BD)
    w_memory = load_rows(squares + 2 * size, 0, D, 0, D, BD, BD)
    w_rate, w_retain = load_vector(gates, D, BD), load_vector(gates + D, D, BD)
    rate_bias, retain_bias = tl.load(biases + program * 2).to(tl.float32), tl.load(biases + program * 2 + 1).to(tl.float32)
    home, home_row = tl.zeros((BD, BD), tl.float32), tl.zeros((BD,), tl.float32)
    for first in range(0, tokens, outer_chunk):
        last = tl.minimum(first + outer_chunk, tokens)
        segment = first // outer_chunk
        store_rows(outer_states + segment * 2 * size, w_keys, 0, D, 0, D, BD, BD)
        store_rows(outer_states + segment * 2 * size + size, w_values, 0, D, 0, D, BD, BD)
        store_vector(gate_states + segment * 2 * D, w_rate, D, BD)
        store_vector(gate_states + segment * 2 * D + D, w_retain, D, BD)
        if not SHARED:
            if HOME:
                home = load_rows(homes + 2 * size, 0, D, 0, D, BD, BD)
            for start in range(first, last, chunk):
                stop = tl.minimum(start + chunk, last)
                store_rows(inner_states + (start // chunk) * size, w_memory, 0, D, 0, D, BD, BD)
                x = load_rows(inputs, start, stop, 0, D, CI, BD)
                k, probe = keys_and_probes(x, w_keys, w_values, L2, NORMALIZE, LOW)
                eta = rates(x, start, stop, w_rate, rate_bias, rate_max, CI)
                between, before, after, total = gate_products(
                    retentions(x, start, stop, w_retain, retain_bias, retain_min, CI), CI, LOW
                )
                inverse = unit_lower_inverse(eta[:, None] * between * product(k, tl.trans(k), LOW), CI, LOW)
                e, _, _ = errors(w_memory, home, k, probe, eta, before, inverse, LOW)
                q = load_rows(queries, start, stop, 0, D, CI, BD)
                store_rows(outputs, read(q, w_memory, home, k, e, between, before, EXACT, LOW), start, stop, 0, D, CI, BD)
                w_memory = written(w_memory, home, k, e, after, total, LOW)
        outer_x = load_rows(inputs, first, last, 0, D, CO, BD)
        outer_k, outer_probe = keys_and_probes(outer_x, w_keys, w_values, L2, NORMALIZE, LOW)
        outer_eta = rates(outer_x, first, last, w_rate, rate_bias, outer_rate_max, CO)
        alpha = retentions(outer_x, first, last, w_retain, retain_bias, retain_min, CO)
        lam, gamma, s, gamma_last = gate_products(alpha, CO, LOW)
        solve = unit_lower_inverse(outer_eta[:, None] * lam * product(outer_k, tl.trans(outer_k), LOW), CO, LOW)
        if SHARED:
            store_rows(inner_states + segment * size, w_memory, 0, D, 0, D, BD, BD)
            if HOME:
                home = load_rows(homes + 2 * size, 0, D, 0, D, BD, BD)
            outer_e, _, _ = errors(w_memory, home, outer_k, outer_probe, outer_eta, gamma, solve, LOW)
            outer_q = load_rows(queries, first, last, 0, D, CO, BD)
            out = read(outer_q, w_memory, home, outer_k, outer_e, lam, gamma, EXACT, LOW)
            store_rows(outputs, out, first, last, 0, D, CO, BD)
            w_memory = written(w_memory, home, outer_k, outer_e, s, gamma_last, LOW)
        if HOME:
            home = load_rows(homes, 0, D, 0, D, BD, BD)
        outer_e, _, _ = errors(w_keys, home, outer_k, outer_probe, outer_eta, gamma, solve, LOW)
        w_keys = written(w_keys, home, outer_k, outer_e, s, gamma_last, LOW)
        if HOME:
            home = load_rows(homes + size, 0, D, 0, D, BD, BD)
        outer_e, _, _ = errors(w_values, home, outer_k, outer_probe, outer_eta, gamma, solve, LOW)
        w_values = written(w_values, home, outer_k, outer_e, s, gamma_last, LOW)
        if HOME:
            home_row = load_vector(home_gates, D, BD)
        w_rate = written_gate(w_rate, home_row, outer_k, outer_probe, outer_eta, gamma, s, gamma_last, solve)
        if HOME:
            home_row = load_vector(home_gates + D, D, BD)
        w_retain = written_gate(w_retain, home_row, outer_k, outer_probe, outer_eta, gamma, s, gamma_last, solve)
    final += program * 3 * size
    final_gates += program * 2 * D
    store_rows(final, w_keys, 0, D, 0, D, BD, BD)
    store_rows(final + size, w_values, 0, D, 0, D, BD, BD)
    store_rows(final + 2 * size, w_memory, 0, D, 0, D, BD, BD)
    store_vector(final_gates, w_rate, D, BD)
    store_vector(final_gates + D, w_retain, D, BD)
