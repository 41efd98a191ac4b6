"""The self-referential block on CPU cores: one program per seed and head, its memories in cache.

All memories share keys and gates, so they are one memory with rows side by side, and one solve serves them: keys, values, rate,
retain (2 d + 2 rows) and, where it shares their chunk and reads from its start, the fifth (3 d + 2); elsewhere that one is a
`memory_scan`. D = W - W_initial is what is learned, base = W_initial, plus the identity for memories that read `z + W z`, and
U = base + D. With p the probes: E = (I + A)⁻¹ η (p Uᵀ - γ̄ K Dᵀ), D_C = γ_C D + Eᵀ (s K); backward, Z = ∂E after the solve reaches
D at the start by -Zᵀ η γ̄ K and U by Zᵀ η p, and what reaches keys and gates is summed over the rows of all memories by products
with D and U. D is kept at the start of every fourth segment: from there it is made again by fewer numbers than it holds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.kernels.memory_scan._chunk import add_product, decay_products, decay_products_backward, masked, weighted_rows
from nlbench.kernels.memory_scan._numba import scan as scan_memory
from nlbench.kernels.programs import Program, array, empty, optional, tensor
from nlbench.kernels.self_referential_scan import Memories
from nlbench.kernels.self_referential_scan._projections import project, raw_backward, row_dot
from nlbench.kernels.self_referential_scan._targets import add_clipped, clipped_backward, values_of
from nlbench.kernels.self_referential_scan.memory import learn_and_read
from nlbench.kernels.tiles import (
    add,
    copy,
    fill_zero,
    gemm,
    inner_product,
    kernel,
    solve_unit_lower,
    solve_unit_lower_transposed,
    transpose,
)

KEPT: Final = 4
"""Segments of which the first keeps its states: more of them cost time to make the others again, fewer memory that is passed."""


class Segment(NamedTuple):
    """What the memories of a segment of C tokens share: (d, C), (C, C), (C + 1, C + 1), (C,), (C, d) and (C, 2 d)."""

    KT: Any
    similarity: Any
    decay: Any
    mask: Any
    system: Any
    eta: Any
    alpha: Any
    scaled: Any
    asked: Any


@kernel()
def new_segment(C, d, like):  # type: ignore[no-untyped-def]
    """A workspace for segments of C tokens."""
    kind = like.dtype
    return Segment(
        np.empty((d, C), kind),
        np.empty((C, C), kind),
        np.empty((C + 1, C + 1), kind),
        np.empty((C, C), kind),
        np.empty((C, C), kind),
        np.empty(C, kind),
        np.empty(C, kind),
        np.empty((C, d), kind),
        np.empty((C, 2 * d), kind),
    )


@kernel()
def prepare(K, probes, share, limits, s):  # type: ignore[no-untyped-def]
    """Fill the workspace: η and α from their sigmoids, the system A below its diagonal, s K, and what D and U are asked: -γ̄ K and
    p.
    """
    size, d = K.shape
    for t in range(size):
        s.eta[t] = limits[0] * share[0, t]
        s.alpha[t] = limits[1] + (K.dtype.type(1) - limits[1]) * share[1, t]
    transpose(K, s.KT)
    gemm(1.0, K, s.KT, 0.0, s.similarity)
    decay_products(s.alpha, s.decay)
    masked(s.decay, s.similarity, s.mask)
    weighted_rows(s.eta, s.mask, s.system)
    weighted_rows(s.decay[size, 1:], K, s.scaled)
    for t in range(size):
        before = s.decay[t, 0]
        for i in range(d):
            s.asked[t, i] = -before * K[t, i]
        for i in range(d):
            s.asked[t, d + i] = probes[t, i]


@kernel()
def sum_of(A, B, out):  # type: ignore[no-untyped-def]
    """out = A + B over the rows and columns of out."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = A[i, j] + B[i, j]


@Program
def forward(  # type: ignore[no-untyped-def]
    p, X, Q, D, base, bias, limits, segment, shared, l2, normalize, states, K, probes, scale, share, E, made, final, outputs
):
    """One program's tokens: K, probes, scale, share, E and targets that are clipped, made, of all of them, and D at the start of
    every `KEPT`th segment; without those of the last segment alone where the arrays hold no more.
    """
    tokens, d = X.shape[1:]
    keep_keys, keep_errors, keep_states = K.shape[1] == tokens, E.shape[1] == tokens, states.shape[1] > 0
    rows, size, kind = D.shape[1], min(segment, tokens), X.dtype
    both, baseT = np.empty((2 * d, rows), kind), np.empty((d, rows), kind)
    DT, UT = both[:d], both[d:]
    transpose(D[p], DT)
    transpose(base[p], baseT)
    raw, v, s = np.empty((size, 2 * d + 2), kind), np.empty((size, d), kind), new_segment(size, d, X)
    for index in range((tokens + segment - 1) // segment):
        low, high = index * segment, min(index * segment + segment, tokens)
        n = high - low
        if n != s.eta.shape[0]:
            s = new_segment(n, d, X)
        if keep_states and index % KEPT == 0:
            transpose(DT, states[p, index // KEPT])
        sum_of(baseT, DT, UT)
        at, place = low if keep_keys else 0, low if keep_errors else 0
        x, k, probe, e = X[p, low:high], K[p, at : at + n], probes[p, at : at + n], E[p, place : place + n]
        gates = share[p, :, low:high]
        project(x, UT, bias[p], l2, normalize, raw[:n], k, probe, scale[p, low:high], gates)
        if shared:
            gemm(1.0, Q[p, low:high], UT[:, 2 * d + 2 :], 0.0, outputs[p, low:high])
        prepare(k, probe, gates, limits, s)
        gemm(1.0, s.asked, both, 0.0, e)
        if limits[2] > 0:
            target = made[p, place : place + n]
            values_of(k, probe, l2, v[:n])
            gemm(1.0, v[:n], UT, 0.0, target)
            add_clipped(target, limits[2], d, e)
        weighted_rows(s.eta, e, e)
        solve_unit_lower(s.system, e)
        gemm(1.0, s.scaled.T, e, s.decay[n, 0], DT)
    transpose(DT, final[p])


class Reverse(NamedTuple):
    """The backward pass's own intermediates of a segment of C tokens: what reaches the rows of E, and below it the targets that
    were clipped, (2 C, rows), what they ask of U (2 C, d), and what U and D tell of them.
    """

    Z: Any
    ZT: Any
    ET: Any
    scaledT: Any  # noqa: N815
    d_decay: Any
    square: Any
    asking: Any
    told: Any
    held_told: Any
    faded: Any
    d_k: Any
    d_probes: Any
    values: Any
    d_share: Any
    raw: Any
    lengths: Any


@kernel()
def new_reverse(C, d, rows, like):  # type: ignore[no-untyped-def]
    """A workspace for the backward pass of segments of C tokens."""
    kind = like.dtype
    return Reverse(
        np.empty((2 * C, rows), kind),
        np.empty((rows, C), kind),
        np.empty((rows, C), kind),
        np.empty((d, C), kind),
        np.empty((C + 1, C + 1), kind),
        np.empty((C, C), kind),
        np.empty((2 * C, d), kind),
        np.empty((2 * C, d), kind),
        np.empty((C, d), kind),
        np.empty((C, d), kind),
        np.empty((C, d), kind),
        np.empty((C, d), kind),
        np.empty((C, d), kind),
        np.empty((2, C), kind),
        np.empty((C, 2 * d + 2), kind),
        np.zeros(C, kind),
    )


@kernel()
def update_backward(K, probes, e, made, D, U, limits, l2, G, dU, s, r):  # type: ignore[no-untyped-def]
    """Take G (rows, d), the gradient of D at the segment's end, to the start, but for what reaches it there through U; of that dU
    becomes the part by targets. Starts d_k, d_probes and d_share.
    """
    size, d = K.shape
    last, clipped = s.decay[size], limits[2] > 0
    Z, used = r.Z[:size], 2 * size if clipped else size
    transpose(s.scaled, r.scaledT)
    gemm(1.0, G, r.scaledT, 0.0, r.ZT)
    transpose(r.ZT, Z)
    gemm(1.0, e, G, 0.0, r.d_k)
    fill_zero(r.d_decay)
    r.d_decay[size, 0] = inner_product(G, D)
    solve_unit_lower_transposed(s.system, Z)
    transpose(e, r.ET)
    gemm(-1.0, Z, r.ET, 0.0, r.square)
    values_of(K, probes, l2, r.values)
    if clipped:
        clipped_backward(made, limits[2], d, Z, r.Z[size:], r.lengths)
    gemm(1.0, Z, D, 0.0, r.held_told)
    gemm(1.0, r.Z[:used], U, 0.0, r.told[:used])
    one = K.dtype.type(1)
    through_values = one if clipped else one - one
    through_keys = through_values if l2 else one - one
    for t in range(size):
        eta, before = s.eta[t], s.decay[t, 0]
        r.d_decay[size, 1 + t] = row_dot(K, r.d_k, t)
        pulled = row_dot(K, r.held_told, t)
        r.d_decay[t, 0] -= eta * pulled
        total = row_dot(probes, r.told, t) - before * pulled + row_dot(r.square, s.mask, t)
        r.d_share[0, t] = limits[0] * (total + r.lengths[t])
        for i in range(d):
            r.asking[t, i] = eta * probes[t, i]
            r.faded[t, i] = -eta * before * K[t, i]
            r.d_probes[t, i] = eta * r.told[t, i]
            r.d_k[t, i] = last[1 + t] * r.d_k[t, i] - eta * before * r.held_told[t, i]
        if clipped:
            for i in range(d):
                r.asking[size + t, i] = eta * r.values[t, i]
                r.d_probes[t, i] += eta * r.told[size + t, i]
                r.d_k[t, i] += through_keys * eta * r.told[size + t, i]
        for i in range(size):
            r.square[t, i] *= eta
        r.d_share[1, t] = 0
    gemm(1.0, Z.T, r.faded, last[0], G)
    gemm(1.0, r.Z[:used].T, r.asking[:used], 0.0, dU)
    add_product(r.square, s.similarity, r.d_decay)
    masked(s.decay, r.square, s.mask)
    for t in range(size):
        for i in range(t):
            s.mask[i, t] = s.mask[t, i]
    gemm(1.0, s.mask, K, 1.0, r.d_k)
    decay_products_backward(s.alpha, s.decay, r.d_decay, r.d_share[1])
    for t in range(size):
        r.d_share[1, t] *= one - limits[1]


@kernel()
def add_to_both(A, first, second):  # type: ignore[no-untyped-def]
    """first += A and second += A."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            first[i, j] += A[i, j]
            second[i, j] += A[i, j]


@kernel()
def made_again(kept, K, share, limits, segment, E, held, scaled):  # type: ignore[no-untyped-def]
    """held[j] becomes D (rows, d) at the start of segment j of these tokens, from that of the first, which is kept."""
    copy(kept, held[0])
    one = K.dtype.type(1)
    for j in range(1, min(KEPT, (K.shape[0] + segment - 1) // segment)):
        low, left = (j - 1) * segment, one
        for t in range(segment - 1, -1, -1):
            for i in range(K.shape[1]):
                scaled[t, i] = left * K[low + t, i]
            left *= limits[1] + (one - limits[1]) * share[1, low + t]
        copy(held[j - 1], held[j])
        gemm(1.0, E[low : low + segment].T, scaled, left, held[j])


@Program
def backward(  # type: ignore[no-untyped-def]
    p,
    X,
    Q,
    base,
    limits,
    segment,
    shared,
    l2,
    normalize,
    truncation,
    states,
    K,
    probes,
    scale,
    share,
    E,
    made,
    d_keys,
    d_probes,
    d_share,
    dO,
    G,
    dX,
    dQ,
    d_base,
    d_bias,
):
    """One program's gradients, last segment first; G enters as dD of the end and leaves as that of the start.

    truncation  segments after whose first none goes on to what was written before; 0: it goes through all
    d_keys, d_probes, d_share  what reaches the results from elsewhere; empty where nothing does
    """
    tokens, d = X.shape[1:]
    rows, size, kind = G.shape[1], min(segment, tokens), X.dtype
    held, U, dU = np.empty((KEPT, rows, d), kind), np.empty((rows, d), kind), np.empty((rows, d), kind)
    fill_zero(d_base[p])
    d_bias[p, 0] = d_bias[p, 1] = 0
    whole = new_segment(size, d, X)
    s, r = whole, new_reverse(size, d, rows, X)
    count = (tokens + segment - 1) // segment
    for index in range(count - 1, -1, -1):
        low, high = index * segment, min(index * segment + segment, tokens)
        n = high - low
        if n != s.eta.shape[0]:
            s, r = new_segment(n, d, X), new_reverse(n, d, rows, X)
        if index == count - 1 or index % KEPT == KEPT - 1:
            first = (index - index % KEPT) * segment
            behind = K[p, first:], share[p, :, first:]
            made_again(states[p, index // KEPT], *behind, limits, segment, E[p, first:], held, whole.scaled)
        k, probe, gates, do = K[p, low:high], probes[p, low:high], share[p, :, low:high], dO[p, low:high]
        D = held[index % KEPT]
        prepare(k, probe, gates, limits, s)
        sum_of(base[p], D, U)
        update_backward(k, probe, E[p, low:high], made[p, low:high], D, U, limits, l2, G[p], dU, s, r)
        if d_keys.shape[1] > 0:
            add(d_keys[p, low:high], r.d_k)
            add(d_probes[p, low:high], r.d_probes)
            add(d_share[p, :, low:high], r.d_share)
        if shared:
            gemm(1.0, do, U[2 * d + 2 :], 0.0, dQ[p, low:high])
            gemm(1.0, do.T, Q[p, low:high], 1.0, dU[2 * d + 2 :])
        raw_backward(k, probe, scale[p, low:high], gates, l2, normalize, r.d_k, r.d_probes, r.d_share, r.values, r.raw)
        for t in range(n):
            d_bias[p, 0] += r.raw[t, 2 * d]
            d_bias[p, 1] += r.raw[t, 2 * d + 1]
        gemm(1.0, r.raw, U[: 2 * d + 2], 0.0, dX[p, low:high])
        gemm(1.0, r.raw.T, X[p, low:high], 1.0, dU[: 2 * d + 2])
        add_to_both(dU, G[p], d_base[p])
        if truncation > 0 and index % truncation == 0:
            fill_zero(G[p])


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs, queries, rate_bias, retain_bias, limits, segment, shared, l2, normalize, truncation, *states):  # type: ignore[no-untyped-def]
        X, Q = array(inputs, 2), array(queries, 2)
        count, tokens, d = X.shape
        used = 5 if shared else 4
        difference, homed = side_by_side(states[:used]), len(states) > used
        home = side_by_side(states[used:]) if homed else np.zeros_like(difference)
        difference -= home
        rows = difference.shape[1]
        base = home + identities(rows, d).astype(X.dtype)
        bias = np.stack([array(rate_bias).ravel(), array(retain_bias).ravel()], -1)
        keep, size = any(ctx.needs_input_grad), min(segment, tokens)
        kept, seen = tokens if keep else size, tokens if keep or not shared else size
        starts = empty((count, -(-tokens // (KEPT * segment)) if keep else 0, rows, d), X)
        errors, targets = empty((count, kept, rows), X), empty((count, kept if limits[2] else 0, rows), X)
        keys, probes = (empty((count, seen, d), X) for _ in range(2))
        scale, share = empty((count, tokens, 2), X), empty((count, 2, tokens), X)
        final, outputs = empty(base.shape, X), empty((count, tokens if shared else 0, d), X)
        options, made = (
            (np.array(limits, X.dtype), segment, shared, l2, normalize),
            (starts, keys, probes, scale, share, errors, targets),
        )
        forward(count, X, Q, difference, base, bias, *options, *made, final, outputs)
        final += home
        ctx.saved, ctx.options, ctx.made, ctx.shape = (X, Q, base), options, made, inputs.shape[:2]
        ctx.homed, ctx.truncation = homed, truncation
        found = [tensor(each, *ctx.shape, *each.shape[1:]) for each in (outputs, keys, probes, share)]
        found = [found[0], None, None, None] if shared else [None, *found[1:]]
        return *found, *apart(final, *ctx.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_outputs, d_keys, d_probes, d_share, *d_states):  # type: ignore[no-untyped-def]
        X, Q, base = ctx.saved
        given = [optional(each, like) for each, like in ((d_keys, X), (d_probes, X), (d_share, ctx.made[4]), (d_outputs, X))]
        G = side_by_side(d_states)
        d_end = G.copy()
        dX, dQ, d_base, d_bias = empty(X.shape, X), empty(given[3].shape, X), empty(base.shape, X), empty((len(X), 2), X)
        backward(len(X), X, Q, base, *ctx.options, ctx.truncation, *ctx.made, *given, G, dX, dQ, d_base, d_bias)
        tokens, biases = (*ctx.shape, *X.shape[1:]), np.ascontiguousarray(d_bias.T)
        d_queries = tensor(dQ, *tokens) if d_outputs is not None else None
        homes = apart(d_end + d_base - G, *ctx.shape) if ctx.homed else ()
        found = tensor(dX, *tokens), d_queries, *(tensor(each, *ctx.shape) for each in biases)
        return *found, *(None,) * 6, *apart(G, *ctx.shape), *homes


@lru_cache
def identities(rows: int, d: int) -> np.ndarray:
    """What every memory answers beside W z, (rows, d): the identity of all that are square."""
    square = np.eye(d)
    return np.concatenate([square, square, np.zeros((2, d)), *[square] * (rows > 2 * d + 2)])


def side_by_side(memories: tuple[Tensor, ...]) -> np.ndarray:
    """All rows of all memories, (S H, 2 d + 2 or 3 d + 2, d), in the order of `Memories`."""
    return array(torch.cat([each if each.dim() == 4 else each[:, :, None] for each in memories], 2), 2)


def apart(rows: np.ndarray, seeds: int, heads: int) -> list[Tensor]:
    """The memories whose rows lie side by side, each in its own shape: four, or five."""
    d = rows.shape[-1]
    sizes = [d, d, 1, 1, d][: 4 + (rows.shape[1] > 2 * d + 2)]
    keys, values, rate, retain, *memory = tensor(rows, seeds, heads, *rows.shape[1:]).split_with_sizes(sizes, 2)
    return [keys, values, rate[:, :, 0], retain[:, :, 0], *memory]


def scan(
    inputs: Tensor,
    queries: Tensor,
    memories: Memories,
    rate_bias: Tensor,
    retain_bias: Tensor,
    chunk: int,
    outer_chunk: int,
    rate_max: float,
    outer_rate_max: float,
    retain_min: float,
    objective: str,
    read: str,
    normalize_values: bool,
    initial: Memories | None,
    target_clip: float | None,
    truncation: int | None,
) -> tuple[Memories, Tensor]:
    """Memories and outputs after all tokens; arguments as in `self_referential_scan`."""
    shared = chunk == outer_chunk and rate_max == outer_rate_max and read == "stale"
    limits = outer_rate_max, retain_min, target_clip or 0.0
    options = limits, outer_chunk, shared, objective == "l2", normalize_values, truncation or 0
    used = 5 if shared else 4
    states = *memories[:used], *(initial or ())[:used]
    outputs, keys, probes, share, *states = _Scan.apply(inputs, queries, rate_bias, retain_bias, *options, *states)
    if not shared:
        rate, retain = rate_max * share[:, :, 0], retain_min + (1 - retain_min) * share[:, :, 1]
        gates = rate, retain
        memory, outputs = learn_and_read(scan_memory, memories.memory, initial, queries, keys, probes, *gates, chunk, read)
        states.append(memory)
    return Memories(*states), outputs
