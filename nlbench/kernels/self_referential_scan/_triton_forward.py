"""The weights that make keys, values and gates as one fused Triton kernel: a program per seed and head.

Weights are held transposed, (d_in, d_out), the two gates as one matrix of two columns, and a segment of C_o tokens is one tile.
They learn on D = W - W_initial with targets read from W: E = T η (probes (B + W_initial) + (probes - γ̄ K) D), with B the identity
(zero for gates) and T = (I + A)⁻¹ shared by all; D_C = γ_C D + (s K)ᵀ E. The fifth memory makes none of this and waits for it:
it is a `memory_scan` of the keys and probes found here.

Per segment and program: `3 C d² + 3 C² d + ⅓ C³` multiply-adds for each of two memories in a chain of about sixteen dependent
products, ten of them small; `4 C d` elements and C² numbers written, `2 d²` saved for the backward pass.
"""

from __future__ import annotations

from typing import Final

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import gate_products, load_rows, product, store_gates, store_rows, tile_inverse
from nlbench.kernels.self_referential_scan import reference

TINY: Final = tl.constexpr(reference.TINY)
GATES: Final = tl.constexpr(16)
"""Columns of a tile that holds the two gates: the fewest that products take."""
LENGTHS = ("tokens", "outer_chunk")


@triton.jit
def column(matrix, i: tl.constexpr):
    """Column i."""
    return tl.sum(tl.where(tl.arange(0, matrix.shape[1])[None, :] == i, matrix, 0.0), 1)


@triton.jit
def columns(first, second):
    """Two vectors as the first columns of a tile of gates."""
    place = tl.arange(0, GATES)[None, :]
    return tl.where(place == 0, first[:, None], tl.where(place == 1, second[:, None], 0.0))


@triton.jit
def sigmoid(z):
    """1 / (1 + e⁻ᶻ)."""
    return tl.div_rn(z * 0 + 1, 1 + tl.exp(-z))


@triton.jit
def retentions(kept, inside, retain_min):
    """The gates α ≥ `retain_min` of a segment's tokens from what their sigmoids keep; 1 for padding."""
    return tl.where(inside, retain_min + (1 - retain_min) * kept, 1.0)


@triton.jit
def unit_scale(raw, NORMALIZE: tl.constexpr):
    """The factor that makes every row one unit long; 1 where rows stay as they are."""
    squared = tl.sum(raw * raw, 1)
    if NORMALIZE:
        return tl.div_rn(squared * 0 + 1, tl.sqrt_rn(squared + TINY))
    else:
        return squared * 0 + 1


@triton.jit
def load_memories(squares, gates, D: tl.constexpr, BD: tl.constexpr):
    """The memories of keys and values, and the gates as one matrix."""
    keys, values = load_rows(squares, 0, D, 0, D, BD, BD), load_rows(squares + D * D, 0, D, 0, D, BD, BD)
    return keys, values, load_rows(gates, 0, D, 0, 2, BD, GATES)


@triton.jit
def store_memories(squares, gates, of_keys, of_values, of_gates, D: tl.constexpr, BD: tl.constexpr):
    """The inverse of `load_memories`."""
    store_rows(squares, of_keys, 0, D, 0, D, BD, BD)
    store_rows(squares + D * D, of_values, 0, D, 0, D, BD, BD)
    store_rows(gates, of_gates, 0, D, 0, 2, BD, GATES)


@triton.jit
def written(d, gap, solve, eta, writes, total, place, V: tl.constexpr, LOW: tl.constexpr):
    """D of one memory after the tile, which `writes` = (s K)ᵀ E; stores E."""
    e = product(solve, eta[:, None] * gap, LOW)
    store_rows(place, e, 0, solve.shape[0], 0, V, solve.shape[0], d.shape[1])
    return total * d + product(writes, e, LOW)


@triton.jit(do_not_specialize=LENGTHS)
def forward(
    inputs,
    squares,
    gates,
    homes,
    home_gates,
    biases,
    keys,
    probes,
    shares,
    scales,
    solved,
    square_errors,
    gate_errors,
    square_states,
    gate_states,
    final,
    final_gates,
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
    """All tokens of one program: keys, probes and the sigmoids of both gates; saves every segment's D, E and T."""
    program = tl.program_id(0).to(tl.int64)
    row, square, pair = program * tokens, program * 2 * D * D, program * 2 * D
    segments = tl.cdiv(tokens, outer_chunk)
    d_keys, d_values, d_gates = load_memories(squares + square, gates + pair, D, BD)
    if HOME:
        home_keys, home_values, home_gate = load_memories(homes + square, home_gates + pair, D, BD)
        d_keys, d_values, d_gates = d_keys - home_keys, d_values - home_values, d_gates - home_gate
    rate_bias, retain_bias = tl.load(biases + program * 2).to(tl.float32), tl.load(biases + program * 2 + 1).to(tl.float32)
    next_x = load_rows(inputs + row * D, 0, tl.minimum(outer_chunk, tokens), 0, D, C, BD)
    for segment in range(segments):
        place, first = program * segments + segment, segment * outer_chunk
        last = tl.minimum(first + outer_chunk, tokens)
        x = next_x
        next_x = load_rows(inputs + row * D, last, tl.minimum(last + outer_chunk, tokens), 0, D, C, BD)
        store_memories(square_states + place * 2 * D * D, gate_states + place * 2 * D, d_keys, d_values, d_gates, D, BD)
        w_keys, w_values, w_gates = d_keys, d_values, d_gates
        if HOME:
            home_keys, home_values, home_gate = load_memories(homes + square, home_gates + pair, D, BD)
            w_keys, w_values, w_gates = d_keys + home_keys, d_values + home_values, d_gates + home_gate
        k, probe, made = x + product(x, w_keys, LOW), x + product(x, w_values, LOW), product(x, w_gates, LOW)
        key_scale, value_scale = unit_scale(k, True), unit_scale(probe, NORMALIZE)
        k, probe = k * key_scale[:, None], probe * value_scale[:, None]
        if L2:
            probe -= k
        inside = first + tl.arange(0, C) < last
        share, kept = tl.where(inside, sigmoid(column(made, 0) + rate_bias), 0.0), sigmoid(column(made, 1) + retain_bias)
        store_rows(keys + row * D, k, first, last, 0, D, C, BD)
        store_rows(probes + row * D, probe, first, last, 0, D, C, BD)
        store_gates(scales + 2 * row, key_scale, first, last, C)
        store_gates(scales + 2 * row + tokens, value_scale, first, last, C)
        store_gates(shares + 2 * row, share, first, last, C)
        store_gates(shares + 2 * row + tokens, kept, first, last, C)
        eta = outer_rate_max * share
        between, before, after, total = gate_products(retentions(kept, inside, retain_min), C, LOW)
        solve = tile_inverse(eta[:, None] * between * product(k, tl.trans(k), LOW), solved + place * C * C, C, LOW)
        moved, writes = probe - before[:, None] * k, tl.trans(after[:, None] * k)
        key_gap, value_gap = probe + product(moved, d_keys, LOW), probe + product(moved, d_values, LOW)
        gate_gap = product(moved, d_gates, LOW)
        if HOME:
            key_gap, value_gap = key_gap + product(probe, home_keys, LOW), value_gap + product(probe, home_values, LOW)
            gate_gap += product(probe, home_gate, LOW)
        e = square_errors + place * 2 * C * D
        d_keys = written(d_keys, key_gap, solve, eta, writes, total, e, D, LOW)
        d_values = written(d_values, value_gap, solve, eta, writes, total, e + C * D, D, LOW)
        d_gates = written(d_gates, gate_gap, solve, eta, writes, total, gate_errors + place * 2 * C, 2, LOW)
    if HOME:
        home_keys, home_values, home_gate = load_memories(homes + square, home_gates + pair, D, BD)
        d_keys, d_values, d_gates = d_keys + home_keys, d_values + home_values, d_gates + home_gate
    store_memories(final + square, final_gates + pair, d_keys, d_values, d_gates, D, BD)
