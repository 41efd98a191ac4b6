"""What the exact ridge memory reads of bfloat16 tokens on a GPU, by conjugate gradients: Triton kernels.

Each program answers R tokens of a chunk. Letters as in `_triton_chunks`. Token t asks for x with
(A + Σ_{j≤t} w_j k_j k_jᵀ) x = q, w = η / γ. A step of conjugate gradients for all of them is three products of whole tiles,

    p A + ((p Kᵀ) w, its entries j ≤ t) K

so that nothing is factorised (as in von Oswald et al. 2025, whose number of steps is fixed). Here steps end when every residual
is `LEAST` of what was asked for. A chunk where one is still larger after `STEPS` is marked in `missed`, and factorised after all.
"""

from __future__ import annotations

from typing import Final

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import load_gates, load_rows, load_transposed, mask_product, product, store_rows
from nlbench.kernels.ridge_scan._triton_chunks import LENGTHS, decays, met_gram

STEPS: Final = tl.constexpr(48)
LEAST: Final = tl.constexpr(2.0**-12)
"""A sixteenth of the spacing of bfloat16 numbers."""


@triton.jit
def own_rows(tokens, chunk, chunks, C: tl.constexpr, R: tl.constexpr):
    """Which program and which of all chunks this is, the first token of the chunk and the one after its last, its first row."""
    number = (tl.program_id(0) // (C // R)).to(tl.int64)
    start = (number % chunks) * chunk
    return number, number // chunks, start, tl.minimum(start + chunk, tokens), (tl.program_id(0) % (C // R)) * R


@triton.jit
def held(rate, retain, program, tokens, start, stop, row, C: tl.constexpr, R: tl.constexpr):
    """w_j of every token j that a row has met, and 0 elsewhere."""
    eta = load_gates(rate + program * tokens, start, stop, 0.0, C)
    through, _ = decays(retain + program * tokens, start, stop, C)
    met = row + tl.arange(0, R)[:, None] >= tl.arange(0, C)[None, :]
    return tl.where(met, (eta / through)[None, :], 0.0)


@triton.jit
def rounded(direction):
    """A direction whose product with keys, bfloat16 too, is exact where bfloat16 numbers are multiplied."""
    return direction.to(tl.bfloat16).to(tl.float32)


@triton.jit
def conjugate_gradients(asked, A, keys, across, weights):
    """x of every row for what it asks, and whether a residual was left too large."""
    x, residual, direction = tl.zeros_like(asked), asked, rounded(asked)
    size = tl.sum(residual * residual, 1)
    enough = size * (LEAST * LEAST)
    step = 0
    missed = 1
    while (missed == 1) & (step < STEPS):
        met = mask_product(direction, A, True)
        met += mask_product(weights * product(direction, across, True), keys, True)
        bent = tl.sum(direction * met, 1)
        length = size / tl.where(bent > 0.0, bent, 1.0)
        x += length[:, None] * direction
        residual -= length[:, None] * met
        left = tl.sum(residual * residual, 1)
        direction = rounded(residual + (left / tl.where(size > 0.0, size, 1.0))[:, None] * direction)
        size = left
        step += 1
        missed = tl.where(tl.max(size - enough, 0) > 0.0, 1, 0)
    return x, missed


@triton.jit(do_not_specialize=LENGTHS)
def read_by_steps(
    keys,
    targets,
    rate,
    retain,
    queries,
    ridge,
    grams,
    memories,
    solved,
    outputs,
    missed,
    tokens,
    chunk,
    chunks,
    K: tl.constexpr,
    V: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    C: tl.constexpr,
    R: tl.constexpr,
):
    """The outputs of some tokens; also γ x, which the way back needs."""
    number, program, start, stop, row = own_rows(tokens, chunk, chunks, C, R)
    k = load_rows(keys + program * tokens * K, start, stop, 0, K, C, BK)
    across = load_transposed(keys + program * tokens * K, start, stop, 0, K, C, BK)
    weights = held(rate, retain, program, tokens, start, stop, row, C, R)
    q = load_rows(queries + program * tokens * K, start + row, stop, 0, K, R, BK)
    x, unfinished = conjugate_gradients(q, met_gram(grams, ridge, number, program, K, BK), k, across, weights)
    tl.store(missed + tl.program_id(0), unfinished)
    store_rows(solved + program * tokens * K, x, start + row, stop, 0, K, R, BK)
    o = mask_product(x, load_transposed(memories + number * V * K, 0, V, 0, K, BV, BK), True)
    v = load_rows(targets + program * tokens * V, start, stop, 0, V, C, BV)
    o += mask_product(weights * mask_product(x, across, True), v, True)
    store_rows(outputs + program * tokens * V, o, start + row, stop, 0, V, R, BV)


@triton.jit(do_not_specialize=LENGTHS)
def read_backward_by_steps(
    keys,
    targets,
    rate,
    retain,
    d_outputs,
    ridge,
    grams,
    memories,
    d_queries,
    missed,
    tokens,
    chunk,
    chunks,
    K: tl.constexpr,
    V: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    C: tl.constexpr,
    R: tl.constexpr,
):
    """z of some tokens, which ask for what their outputs' gradients read of what is written."""
    number, program, start, stop, row = own_rows(tokens, chunk, chunks, C, R)
    k = load_rows(keys + program * tokens * K, start, stop, 0, K, C, BK)
    across = load_transposed(keys + program * tokens * K, start, stop, 0, K, C, BK)
    weights = held(rate, retain, program, tokens, start, stop, row, C, R)
    d_o = load_rows(d_outputs + program * tokens * V, start + row, stop, 0, V, R, BV)
    met = mask_product(d_o, load_transposed(targets + program * tokens * V, start, stop, 0, V, C, BV), True)
    asked = mask_product(d_o, load_rows(memories + number * V * K, 0, V, 0, K, BV, BK), True)
    asked += mask_product(weights * met, k, True)
    z, unfinished = conjugate_gradients(asked, met_gram(grams, ridge, number, program, K, BK), k, across, weights)
    tl.store(missed + tl.program_id(0), unfinished)
    store_rows(d_queries + program * tokens * K, z, start + row, stop, 0, K, R, BK)
