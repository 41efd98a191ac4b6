"""The exact ridge memory as Triton kernels, each program a chunk, and one that carries states from chunk to chunk.

Letters: a chunk of C tokens whose products of retentions are γ_t; A the gram at its start with the whole ridge, P = A⁻¹,
W = B P the memory of least error there, and K̃ = diag(√(η / γ)) K. With L Lᵀ = I + K̃ P K̃ᵀ, whose leading blocks are those of
L, and F = L⁻¹ K̃ P, token t finds

    γ_t x_t = P q_t - Fᵀ y_t           y_t = F q_t, its first t entries
    o_t = W q_t + Σ_{j≤t} c_tj (v_j - W k_j)        c_t = √(η / γ) L⁻ᵀ y_t

so that what is read is W and errors of it, never B x, whose terms are larger than their sum. Backward, z_t = W_tᵀ ∂o_t is found
in the same way, ∂q_t = z_t, and with ∂A_t = -z_t x_tᵀ and ∂B_t = ∂o_t x_tᵀ the gradients of keys and targets are reads of two
more states, carried from the last chunk to the first.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nlbench.kernels.gpu_tiles import (
    load_gates,
    load_rows,
    load_transposed,
    mask_product,
    product,
    store_gates,
    store_rows,
    tile_inverse,
)

LENGTHS = ("tokens", "chunk", "chunks")
AHEAD: tl.constexpr = tl.constexpr(4)


@triton.jit
def times(a, b, LOW: tl.constexpr):
    """a @ b in float32: of factors rounded to bfloat16 if LOW, else three products of tf32 parts, exact to some 2^-21."""
    if LOW:
        return product(a, b, True)
    else:
        return tl.dot(a, b, input_precision="tf32x3")


@triton.jit
def times_closely(a, b, LOW: tl.constexpr):
    """`times`, but of tf32 factors if LOW."""
    if LOW:
        return mask_product(a, b, True)
    else:
        return times(a, b, False)


@triton.jit
def own_chunk(tokens, chunk, chunks):
    """Which program and which of its chunks this is, its first token and the token after its last."""
    number = tl.program_id(0)
    program = (number // chunks).to(tl.int64)
    start = (number % chunks) * chunk
    return number.to(tl.int64), program, start, tl.minimum(start + chunk, tokens)


@triton.jit
def decays(retain, start, stop, C: tl.constexpr):
    """γ of every token, that of the last for padding, and γ of the whole chunk."""
    through = tl.cumprod(load_gates(retain, start, stop, 1.0, C), 0)
    return through, tl.sum(tl.where(tl.arange(0, C) == C - 1, through, 0.0), 0)


@triton.jit
def met_gram(grams, ridge, number, program, K: tl.constexpr, BK: tl.constexpr):
    """A: the gram at the start of the chunk with the whole ridge, and 1 on the diagonal of what is padding."""
    row, column = tl.arange(0, BK)[:, None], tl.arange(0, BK)[None, :]
    level = tl.where(row < K, tl.load(ridge + program), 1.0)
    return load_rows(grams + number * K * K, 0, K, 0, K, BK, BK) + tl.where(row == column, level, 0.0)


@triton.jit
def factorised(A, N: tl.constexpr):
    """The strictly lower part of the unit lower M and the diagonal D of A = M D Mᵀ, for A symmetric and positive."""
    row, column = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    for j in range(N):
        below = tl.sum(tl.where(column == j, A, 0.0), 1)
        beside = tl.sum(tl.where(row == j, A, 0.0), 0)
        pivot = tl.sum(tl.where(tl.arange(0, N) == j, beside, 0.0), 0)
        A -= tl.where((row > j) & (column > j), below[:, None] * (beside / pivot)[None, :], 0.0)
    diagonal = tl.sum(tl.where(row == column, A, 0.0), 0)
    return tl.where(row > column, A / diagonal[None, :], 0.0), diagonal


@triton.jit(do_not_specialize=LENGTHS)
def sums(
    keys,
    targets,
    rate,
    retain,
    grams,
    memories,
    totals,
    tokens,
    chunk,
    chunks,
    K: tl.constexpr,
    V: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    C: tl.constexpr,
    LOW: tl.constexpr,
):
    """What the chunk adds to the gram and to the memory by its end, and what it retains."""
    number, program, start, stop = own_chunk(tokens, chunk, chunks)
    k = load_rows(keys + program * tokens * K, start, stop, 0, K, C, BK)
    v = load_rows(targets + program * tokens * V, start, stop, 0, V, C, BV)
    eta = load_gates(rate + program * tokens, start, stop, 0.0, C)
    through, total = decays(retain + program * tokens, start, stop, C)
    weighted = (eta * total / through)[:, None] * k
    store_rows(grams + number * K * K, times_closely(tl.trans(k), weighted, LOW), 0, K, 0, K, BK, BK)
    store_rows(memories + number * V * K, times_closely(tl.trans(v), weighted, LOW), 0, V, 0, K, BV, BK)
    tl.store(totals + number, total)


@triton.jit(do_not_specialize=("chunks",))
def carry(
    states,
    first,
    last,
    totals,
    chunks,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BC: tl.constexpr,
    SLICE: tl.constexpr,
    REVERSE: tl.constexpr,
):
    """Put the state that each chunk meets in the place of what it adds, for a few rows; backward from the last chunk on."""
    slices: tl.constexpr = (ROWS + SLICE - 1) // SLICE
    program = (tl.program_id(0) // slices).to(tl.int64)
    row = (tl.program_id(0) % slices) * SLICE + tl.arange(0, SLICE)[:, None]
    column = tl.arange(0, BC)[None, :]
    inside = (row < ROWS) & (column < COLUMNS)
    place = row * COLUMNS + column
    state = tl.load(first + program * ROWS * COLUMNS + place, mask=inside, other=0.0)
    for step in tl.range(chunks, num_stages=AHEAD):
        number = program * chunks + (chunks - 1 - step if REVERSE else step)
        added = tl.load(states + number * ROWS * COLUMNS + place, mask=inside, other=0.0)
        total = tl.load(totals + number)
        tl.store(states + number * ROWS * COLUMNS + place, state, mask=inside)
        state = total * state + added
    tl.store(last + program * ROWS * COLUMNS + place, state, mask=inside)


@triton.jit(do_not_specialize=LENGTHS)
def prepare(
    keys,
    rate,
    retain,
    due,
    ridge,
    grams,
    memories,
    precisions,
    inverses,
    factors,
    answers,
    tokens,
    chunk,
    chunks,
    K: tl.constexpr,
    V: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    C: tl.constexpr,
    LOW: tl.constexpr,
):
    """P, W, L⁻¹ and F of the chunk: what its reads need of all before them and of its keys."""
    number, program, start, stop = own_chunk(tokens, chunk, chunks)
    if tl.load(due + number) == 0:
        return
    lower, diagonal = factorised(met_gram(grams, ridge, number, program, K, BK), BK)
    place = precisions + number * BK * BK
    inverse = tile_inverse(lower, place, BK, False)
    P = times_closely(tl.trans(inverse), inverse / tl.trans(diagonal[None, :]), LOW)
    tl.debug_barrier()
    store_rows(place, P, 0, BK, 0, BK, BK, BK)
    W = times_closely(load_rows(memories + number * V * K, 0, V, 0, K, BV, BK), P, LOW)
    store_rows(answers + number * V * K, W, 0, V, 0, K, BV, BK)

    own = keys + program * tokens * K
    eta = load_gates(rate + program * tokens, start, stop, 0.0, C)
    through, _ = decays(retain + program * tokens, start, stop, C)
    scale = tl.sqrt(eta / through)
    KP = scale[:, None] * times_closely(load_rows(own, start, stop, 0, K, C, BK), P, LOW)
    row, column = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    system = times_closely(KP, load_transposed(own, start, stop, 0, K, C, BK), LOW) * tl.trans(scale[:, None])
    lower, diagonal = factorised(system + tl.where(row == column, 1.0, 0.0), C)
    place = inverses + number * C * C
    inverse = tile_inverse(lower, place, C, False) * tl.trans(tl.rsqrt(diagonal)[None, :])
    tl.debug_barrier()
    store_rows(place, inverse, 0, C, 0, C, C, C)
    store_rows(factors + number * C * K, times_closely(inverse, KP, LOW), 0, C, 0, K, C, BK)


@triton.jit
def solution(asked, precisions, factors, number, K: tl.constexpr, BK: tl.constexpr, C: tl.constexpr, LOW: tl.constexpr):
    """γ x and y of every token for what it asks."""
    y = times_closely(asked, load_transposed(factors + number * C * K, 0, C, 0, K, C, BK), LOW)
    y = tl.where(tl.arange(0, C)[:, None] >= tl.arange(0, C)[None, :], y, 0.0)
    x = times_closely(asked, load_rows(precisions + number * BK * BK, 0, BK, 0, BK, BK, BK), LOW)
    return x - times_closely(y, load_rows(factors + number * C * K, 0, C, 0, K, C, BK), LOW), y


@triton.jit(do_not_specialize=LENGTHS)
def read(
    keys,
    targets,
    rate,
    retain,
    due,
    queries,
    precisions,
    factors,
    inverses,
    answers,
    solved,
    outputs,
    tokens,
    chunk,
    chunks,
    K: tl.constexpr,
    V: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    C: tl.constexpr,
    LOW: tl.constexpr,
):
    """The outputs of the chunk; also γ x, which the way back needs."""
    number, program, start, stop = own_chunk(tokens, chunk, chunks)
    if tl.load(due + number) == 0:
        return
    q = load_rows(queries + program * tokens * K, start, stop, 0, K, C, BK)
    x, y = solution(q, precisions, factors, number, K, BK, C, LOW)
    store_rows(solved + program * tokens * K, x, start, stop, 0, K, C, BK)
    eta = load_gates(rate + program * tokens, start, stop, 0.0, C)
    through, _ = decays(retain + program * tokens, start, stop, C)
    c = times(y, load_rows(inverses + number * C * C, 0, C, 0, C, C, C), LOW) * tl.trans(tl.sqrt(eta / through)[:, None])
    W = load_transposed(answers + number * V * K, 0, V, 0, K, BV, BK)
    errors = load_rows(targets + program * tokens * V, start, stop, 0, V, C, BV)
    errors -= times(load_rows(keys + program * tokens * K, start, stop, 0, K, C, BK), W, LOW)
    o = times(q, W, LOW) + times(c, errors, LOW)
    store_rows(outputs + program * tokens * V, o, start, stop, 0, V, C, BV)


@triton.jit(do_not_specialize=LENGTHS)
def correct(
    keys,
    rate,
    retain,
    due,
    queries,
    ridge,
    grams,
    precisions,
    factors,
    solved,
    tokens,
    chunk,
    chunks,
    K: tl.constexpr,
    BK: tl.constexpr,
    C: tl.constexpr,
    LOW: tl.constexpr,
):
    """γ x, once more for what it leaves of q: gradients need residuals as small as those of solving with Cholesky's factors."""
    number, program, start, stop = own_chunk(tokens, chunk, chunks)
    if tl.load(due + number) == 0:
        return
    x = load_rows(solved + program * tokens * K, start, stop, 0, K, C, BK)
    eta = load_gates(rate + program * tokens, start, stop, 0.0, C)
    through, _ = decays(retain + program * tokens, start, stop, C)
    met = tl.arange(0, C)[:, None] >= tl.arange(0, C)[None, :]
    own = keys + program * tokens * K
    weighted = times_closely(x, load_transposed(own, start, stop, 0, K, C, BK), LOW)
    weighted *= tl.where(met, tl.trans((eta / through)[:, None]), 0.0)
    left = load_rows(queries + program * tokens * K, start, stop, 0, K, C, BK)
    left -= times_closely(weighted, load_rows(own, start, stop, 0, K, C, BK), LOW)
    left -= times_closely(x, met_gram(grams, ridge, number, program, K, BK), LOW)
    more, _ = solution(left, precisions, factors, number, K, BK, C, LOW)
    store_rows(solved + program * tokens * K, x + more, start, stop, 0, K, C, BK)


@triton.jit(do_not_specialize=LENGTHS)
def read_backward(
    keys,
    targets,
    rate,
    retain,
    due,
    d_outputs,
    factors,
    inverses,
    answers,
    d_queries,
    tokens,
    chunk,
    chunks,
    K: tl.constexpr,
    V: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    C: tl.constexpr,
    LOW: tl.constexpr,
):
    """z of the chunk's tokens."""
    number, program, start, stop = own_chunk(tokens, chunk, chunks)
    if tl.load(due + number) == 0:
        return
    row, column = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    errors = load_transposed(targets + program * tokens * V, start, stop, 0, V, C, BV)
    own = load_transposed(keys + program * tokens * K, start, stop, 0, K, C, BK)
    W = load_rows(answers + number * V * K, 0, V, 0, K, BV, BK)
    errors -= times(W, own, LOW)
    eta = load_gates(rate + program * tokens, start, stop, 0.0, C)
    through, _ = decays(retain + program * tokens, start, stop, C)
    d_o = load_rows(d_outputs + program * tokens * V, start, stop, 0, V, C, BV)
    met = times(d_o, errors, LOW) * tl.trans(tl.sqrt(eta / through)[:, None])
    met = times(met, load_transposed(inverses + number * C * C, 0, C, 0, C, C, C), LOW)
    z = times(d_o, W, LOW)
    z += times(tl.where(row >= column, met, 0.0), load_rows(factors + number * C * K, 0, C, 0, K, C, BK), LOW)
    store_rows(d_queries + program * tokens * K, z, start, stop, 0, K, C, BK)


@triton.jit(do_not_specialize=LENGTHS)
def backward_sums(
    d_outputs,
    solved,
    d_queries,
    read_sums,
    solve_sums,
    faded,
    tokens,
    chunk,
    chunks,
    K: tl.constexpr,
    V: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    C: tl.constexpr,
    LOW: tl.constexpr,
):
    """What the chunk's tokens add to Σ ∂o xᵀ and Σ (z xᵀ + x zᵀ) by its start, and Σ γ zᵀ x, of the ridge."""
    number, program, start, stop = own_chunk(tokens, chunk, chunks)
    x = load_rows(solved + program * tokens * K, start, stop, 0, K, C, BK)
    z = load_rows(d_queries + program * tokens * K, start, stop, 0, K, C, BK)
    tl.store(faded + number, tl.sum(tl.sum(z * x, 1), 0))
    d_o = load_transposed(d_outputs + program * tokens * V, start, stop, 0, V, C, BV)
    store_rows(read_sums + number * V * K, times(d_o, x, LOW), 0, V, 0, K, BV, BK)
    both = times(tl.trans(z), x, LOW)
    store_rows(solve_sums + number * K * K, both + tl.trans(both), 0, K, 0, K, BK, BK)


@triton.jit(do_not_specialize=LENGTHS)
def read_gradients(
    keys,
    targets,
    rate,
    retain,
    d_outputs,
    solved,
    read_sums,
    d_targets,
    along,
    d_rate,
    tokens,
    chunk,
    chunks,
    K: tl.constexpr,
    V: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    C: tl.constexpr,
    LOW: tl.constexpr,
):
    """∂v of the chunk's tokens; of ∂k and ∂η what comes of what they write to B, before their own rate."""
    number, program, start, stop = own_chunk(tokens, chunk, chunks)
    later = tl.arange(0, C)[:, None] <= tl.arange(0, C)[None, :]
    through, total = decays(retain + program * tokens, start, stop, C)
    k = load_rows(keys + program * tokens * K, start, stop, 0, K, C, BK)
    found = times(k, load_transposed(solved + program * tokens * K, start, stop, 0, K, C, BK), LOW)
    found = tl.where(later, found, 0.0)
    d_v = total * times(k, load_transposed(read_sums + number * V * K, 0, V, 0, K, BV, BK), LOW)
    d_v += times(found, load_rows(d_outputs + program * tokens * V, start, stop, 0, V, C, BV), LOW)
    eta = load_gates(rate + program * tokens, start, stop, 0.0, C)
    store_rows(d_targets + program * tokens * V, (eta / through)[:, None] * d_v, start, stop, 0, V, C, BV)
    v = load_rows(targets + program * tokens * V, start, stop, 0, V, C, BV)
    wanted = times(v, load_transposed(d_outputs + program * tokens * V, start, stop, 0, V, C, BV), LOW)
    a = total * times(v, load_rows(read_sums + number * V * K, 0, V, 0, K, BV, BK), LOW)
    a += times(tl.where(later, wanted, 0.0), load_rows(solved + program * tokens * K, start, stop, 0, K, C, BK), LOW)
    store_rows(along + program * tokens * K, a, start, stop, 0, K, C, BK)
    store_gates(d_rate + program * tokens, tl.sum(k * a, 1) / through, start, stop, C)


@triton.jit(do_not_specialize=LENGTHS)
def solve_gradients(
    keys,
    rate,
    retain,
    solved,
    d_queries,
    solve_sums,
    along,
    d_keys,
    d_rate,
    tokens,
    chunk,
    chunks,
    K: tl.constexpr,
    V: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    C: tl.constexpr,
    LOW: tl.constexpr,
):
    """∂k and ∂η of the chunk's tokens, with what comes of what they write to the gram."""
    number, program, start, stop = own_chunk(tokens, chunk, chunks)
    later = tl.arange(0, C)[:, None] <= tl.arange(0, C)[None, :]
    through, total = decays(retain + program * tokens, start, stop, C)
    k = load_rows(keys + program * tokens * K, start, stop, 0, K, C, BK)
    across = total * times(k, load_rows(solve_sums + number * K * K, 0, K, 0, K, BK, BK), LOW)
    found = times(k, load_transposed(solved + program * tokens * K, start, stop, 0, K, C, BK), LOW)
    across += times(tl.where(later, found, 0.0), load_rows(d_queries + program * tokens * K, start, stop, 0, K, C, BK), LOW)
    found = times(k, load_transposed(d_queries + program * tokens * K, start, stop, 0, K, C, BK), LOW)
    across += times(tl.where(later, found, 0.0), load_rows(solved + program * tokens * K, start, stop, 0, K, C, BK), LOW)
    eta = load_gates(rate + program * tokens, start, stop, 0.0, C)
    a = load_rows(along + program * tokens * K, start, stop, 0, K, C, BK)
    store_rows(d_keys + program * tokens * K, (eta / through)[:, None] * (a - across), start, stop, 0, K, C, BK)
    so_far = load_gates(d_rate + program * tokens, start, stop, 0.0, C)
    store_gates(d_rate + program * tokens, so_far - 0.5 * tl.sum(k * across, 1) / through, start, stop, C)
