"""The self-referential block on CPU cores: one program per seed and head, its five memories in cache.

All memories share keys and gates, so those that share a chunk too are one memory with rows side by side, and one solve serves
them: `outer` (key, value, rate, retain: 2 d + 2 rows) and, where C_mem differs from C_o, `inner` (d rows). D = W - W_initial is
what is learned, base = W_initial, plus the identity for memories that read `z + W z`. Everything is read from base + D.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.kernels.elementary import sigmoid
from nlbench.kernels.memory_scan._chunk import RESIDUALS, chunk_backward, new_reverse, new_work, read_exact, solve_chunk, write
from nlbench.kernels.programs import Program, array, empty, tensor
from nlbench.kernels.self_referential_scan import Memories
from nlbench.kernels.self_referential_scan.reference import TINY
from nlbench.kernels.tiles import add, copy, fill_zero, gemm, kernel, transpose

GIVEN = RESIDUALS["given"]


@kernel(fastmath={"reassoc", "contract"})
def scales(raw, low, high, out):  # type: ignore[no-untyped-def]
    """out[t] = 1 / length of raw[t, low:high]."""
    for t in range(raw.shape[0]):
        total = raw.dtype.type(TINY)
        for i in range(low, high):
            total += raw[t, i] * raw[t, i]
        out[t] = raw.dtype.type(1) / np.sqrt(total)


@kernel()
def project(X, UT, gates, l2, normalize, raw, scale, K, probes, rate, retain, outer_rate):  # type: ignore[no-untyped-def]
    """Keys, probes and gates of the tokens X (n, d) from UT (d, 2 d + 2, …), the transposed base + D; keeps what was read.

    gates  rate_max, outer_rate_max, retain_min, and the biases of rate and retention; scale (2, n) of keys and values
    """
    tokens, d = X.shape
    one = X.dtype.type(1)
    gemm(1.0, X, UT[:, : 2 * d + 2], 0.0, raw)
    scales(raw, 0, d, scale[0])
    scales(raw, d, 2 * d, scale[1])
    subtract = X.dtype.type(1 if l2 else 0)
    for t in range(tokens):
        if not normalize:
            scale[1, t] = one
        for i in range(d):
            K[t, i] = scale[0, t] * raw[t, i]
        for i in range(d):
            probes[t, i] = scale[1, t] * raw[t, d + i] - subtract * K[t, i]
        share = sigmoid(raw[t, 2 * d] + gates[3])
        rate[t], outer_rate[t] = gates[0] * share, gates[1] * share
        retain[t] = gates[2] + (one - gates[2]) * sigmoid(raw[t, 2 * d + 1] + gates[4])


@kernel(fastmath={"reassoc", "contract"})
def unit_backward(raw, first, scale, d_unit, normalized):  # type: ignore[no-untyped-def]
    """The columns first … of raw (n, …), of which scale raw was made, become the gradient with respect to them."""
    d = d_unit.shape[1]
    for t in range(d_unit.shape[0]):
        along = raw.dtype.type(0)
        for i in range(d):
            along += d_unit[t, i] * raw[t, first + i]
        along *= scale[t] * scale[t] if normalized else raw.dtype.type(0)
        for i in range(d):
            raw[t, first + i] = scale[t] * (d_unit[t, i] - along * raw[t, first + i])


@kernel()
def project_backward(X, U, gates, l2, normalize, raw, scale, dK, d_probes, d_rate, d_outer, d_retain, dX, dW, d_bias):  # type: ignore[no-untyped-def]
    """Take the gradients of `project`'s results back to X, to base + D (added to dW) and to the biases. Uses up raw and dK."""
    tokens, d = X.shape
    one = X.dtype.type(1)
    if l2:
        for t in range(tokens):
            for i in range(d):
                dK[t, i] -= d_probes[t, i]
    unit_backward(raw, 0, scale[0], dK, True)
    unit_backward(raw, d, scale[1], d_probes, normalize)
    for t in range(tokens):
        share, kept = sigmoid(raw[t, 2 * d] + gates[3]), sigmoid(raw[t, 2 * d + 1] + gates[4])
        raw[t, 2 * d] = (gates[0] * d_rate[t] + gates[1] * d_outer[t]) * share * (one - share)
        raw[t, 2 * d + 1] = d_retain[t] * (one - gates[2]) * kept * (one - kept)
        d_bias[0] += raw[t, 2 * d]
        d_bias[1] += raw[t, 2 * d + 1]
    gemm(1.0, raw, U[: 2 * d + 2], 0.0, dX)
    gemm(1.0, raw.T, X, 1.0, dW[: 2 * d + 2])


@kernel()
def sum_of(A, B, out):  # type: ignore[no-untyped-def]
    """out = A + B over the columns of B."""
    for i in range(B.shape[0]):
        for j in range(B.shape[1]):
            out[i, j] = A[i, j] + B[i, j]


@Program
def forward(  # type: ignore[no-untyped-def]
    p, X, Q, D, base, bias, limits, chunk, outer_chunk, shared, l2, exact, normalize, outer_states, inner_states, final, outputs
):
    """One program's tokens; the state arrays receive the transposed states at segment and chunk starts if they have room."""
    tokens, d = X.shape[1:]
    outer = 3 * d + 2 if shared else 2 * d + 2
    none, none_2d, keep, kind = np.empty(0, X.dtype), np.empty((0, d), X.dtype), outer_states.shape[1] > 0, X.dtype
    gates = np.array([limits[0], limits[1], limits[2], bias[p, 0], bias[p, 1]], kind)
    baseT, DT, MT = np.empty((d, 3 * d + 2), kind), np.empty((d, outer), kind), np.empty((d, d), kind)
    UT, WT = np.empty((d, outer), kind), np.empty((d, d), kind)
    transpose(D[p, :outer], DT)
    transpose(D[p, 2 * d + 2 :], MT)
    transpose(base[p], baseT)
    size = min(outer_chunk, tokens)
    w, inner = new_work(size, d, outer, False, X), new_work(min(chunk, tokens), d, d, False, X)
    K, probes, raw = np.empty((size, d), kind), np.empty((size, d), kind), np.empty((size, 2 * d + 2), kind)
    gate, scale, targets = np.empty((3, size), kind), np.empty((2, size), kind), np.empty((size, outer), kind)
    for segment in range((tokens + outer_chunk - 1) // outer_chunk):
        low, high = segment * outer_chunk, min(segment * outer_chunk + outer_chunk, tokens)
        n = high - low
        if n != w.P.shape[0]:
            w = new_work(n, d, outer, False, X)
        if keep:
            copy(DT, outer_states[p, segment])
        sum_of(baseT, DT, UT)
        k, probe, eta, outer_eta, alpha = K[:n], probes[:n], gate[0, :n], gate[1, :n], gate[2, :n]
        project(X[p, low:high], UT, gates, l2, normalize, raw[:n], scale[:, :n], k, probe, eta, alpha, outer_eta)
        if shared:
            gemm(1.0, Q[p, low:high], UT[:, 2 * d + 2 :], 0.0, outputs[p, low:high])
        else:
            for start in range(0, n, chunk):
                stop = min(start + chunk, n)
                if stop - start != inner.P.shape[0]:
                    inner = new_work(stop - start, d, d, False, X)
                if keep:
                    copy(MT, inner_states[p, (low + start) // chunk])
                sum_of(baseT[:, 2 * d + 2 :], MT, WT)
                q, out, some = Q[p, low + start : low + stop], outputs[p, low + start : low + stop], k[start:stop]
                gemm(1.0, probe[start:stop], WT, 0.0, out)
                solve_chunk(some, out, none_2d, eta[start:stop], alpha[start:stop], none, MT, MT, GIVEN, inner)
                if exact:
                    read_exact(q, MT, MT, False, inner, out)
                    gemm(1.0, q, baseT[:, 2 * d + 2 :], 1.0, out)
                else:
                    gemm(1.0, q, WT, 0.0, out)
                write(some, False, inner, MT, MT)
        gemm(1.0, probe, UT, 0.0, targets[:n])
        solve_chunk(k, targets[:n], none_2d, outer_eta, alpha, none, DT, DT, GIVEN, w)
        write(k, False, w, DT, DT)
    transpose(DT, final[p, :outer])
    if not shared:
        transpose(MT, final[p, 2 * d + 2 :])


@Program
def backward(  # type: ignore[no-untyped-def]
    p,
    X,
    Q,
    base,
    bias,
    limits,
    chunk,
    outer_chunk,
    shared,
    l2,
    exact,
    normalize,
    outer_states,
    inner_states,
    dO,
    D,
    dX,
    dQ,
    d_base,
    d_bias,
):
    """One program's gradients, last segment first; D enters as dD of the end and leaves as that of the start."""
    tokens, d = X.shape[1:]
    outer = 3 * d + 2 if shared else 2 * d + 2
    none, none_2d, kind = np.empty(0, X.dtype), np.empty((0, d), X.dtype), X.dtype
    gates = np.array([limits[0], limits[1], limits[2], bias[p, 0], bias[p, 1]], kind)
    baseT, UT, U, dW = (
        np.empty((d, 3 * d + 2), kind),
        np.empty((d, outer), kind),
        np.empty((outer, d), kind),
        np.empty((outer, d), kind),
    )
    WT, W, dM = np.empty((d, d), kind), np.empty((d, d), kind), np.empty((d, d), kind)
    transpose(base[p], baseT)
    fill_zero(d_base[p])
    d_bias[p, 0] = d_bias[p, 1] = 0
    size, small = min(outer_chunk, tokens), min(chunk, tokens)
    w, r = new_work(size, d, outer, False, X), new_reverse(size, d, outer, False, X)
    inner, reverse = new_work(small, d, d, False, X), new_reverse(small, d, d, False, X)
    K, probes, raw = np.empty((size, d), kind), np.empty((size, d), kind), np.empty((size, 2 * d + 2), kind)
    gate, scale, d_gate, more = (
        np.empty((3, size), kind),
        np.empty((2, size), kind),
        np.zeros((3, size), kind),
        np.empty(size, kind),
    )
    T, t, dK, d_probes, dk = (
        np.empty((size, outer), kind),
        np.empty((small, d), kind),
        np.empty_like(K),
        np.empty_like(K),
        np.empty_like(K),
    )
    memory = slice(2 * d + 2, 3 * d + 2)
    for segment in range((tokens + outer_chunk - 1) // outer_chunk - 1, -1, -1):
        low, high = segment * outer_chunk, min(segment * outer_chunk + outer_chunk, tokens)
        n = high - low
        if n != w.P.shape[0]:
            w, r = new_work(n, d, outer, False, X), new_reverse(n, d, outer, False, X)
        x, k, probe, eta, outer_eta, alpha, all_dk, dp = (
            X[p, low:high],
            K[:n],
            probes[:n],
            gate[0, :n],
            gate[1, :n],
            gate[2, :n],
            dK[:n],
            d_probes[:n],
        )
        d_eta, d_outer, d_alpha, DT, targets = d_gate[0, :n], d_gate[1, :n], d_gate[2, :n], outer_states[p, segment], T[:n]
        sum_of(baseT, DT, UT)
        transpose(UT, U)
        project(x, UT, gates, l2, normalize, raw[:n], scale[:, :n], k, probe, eta, alpha, outer_eta)
        gemm(1.0, probe, UT, 0.0, targets)
        solve_chunk(k, targets, none_2d, outer_eta, alpha, none, DT, DT, GIVEN, w)
        chunk_backward(
            k,
            none_2d,
            outer_eta,
            alpha,
            none,
            none_2d,
            DT,
            DT,
            T,
            GIVEN,
            False,
            w,
            r,
            all_dk,
            targets,
            none_2d,
            d_outer,
            d_alpha,
            none,
            none_2d,
            D[p, :outer],
            U,
        )
        gemm(1.0, targets, U, 0.0, dp)
        gemm(1.0, targets.T, probe, 0.0, dW)
        if shared:
            gemm(1.0, dO[p, low:high], U[memory], 0.0, dQ[p, low:high])
            gemm(1.0, dO[p, low:high].T, Q[p, low:high], 1.0, dW[memory])
        else:
            for start in range((n - 1) // chunk * chunk, -1, -chunk):
                stop = min(start + chunk, n)
                m = stop - start
                if m != inner.P.shape[0]:
                    inner, reverse = new_work(m, d, d, False, X), new_reverse(m, d, d, False, X)
                MT = inner_states[p, (low + start) // chunk]
                sum_of(baseT[:, memory], MT, WT)
                transpose(WT, W)
                q, do, dq = Q[p, low + start : low + stop], dO[p, low + start : low + stop], dQ[p, low + start : low + stop]
                some, probed, rates, kept, part = k[start:stop], probe[start:stop], eta[start:stop], alpha[start:stop], dk[:m]
                gemm(1.0, probed, WT, 0.0, t[:m])
                solve_chunk(some, t[:m], none_2d, rates, kept, none, MT, MT, GIVEN, inner)
                chunk_backward(
                    some,
                    none_2d,
                    rates,
                    kept,
                    none,
                    q if exact else none_2d,
                    MT,
                    MT,
                    do,
                    GIVEN,
                    exact,
                    inner,
                    reverse,
                    part,
                    t[:m],
                    none_2d,
                    d_eta[start:stop],
                    more[:m],
                    none,
                    dq,
                    D[p, memory],
                    U,
                )
                if exact:
                    gemm(1.0, do, base[p, memory], 1.0, dq)
                    gemm(1.0, do.T, q, 1.0, d_base[p, memory])
                else:
                    gemm(1.0, do, W, 0.0, dq)
                gemm(1.0, t[:m].T, probed, 0.0, dM)
                if not exact:
                    gemm(1.0, do.T, q, 1.0, dM)
                add(dM, D[p, memory])
                add(dM, d_base[p, memory])
                gemm(1.0, t[:m], W, 1.0, dp[start:stop])
                add(part, all_dk[start:stop])
                for i in range(m):
                    d_alpha[start + i] += more[i]
        dx = dX[p, low:high]
        project_backward(
            x, U, gates, l2, normalize, raw[:n], scale[:, :n], all_dk, dp, d_eta, d_outer, d_alpha, dx, dW, d_bias[p]
        )
        add(dW, D[p, :outer])
        add(dW, d_base[p, :outer])


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs, queries, rate_bias, retain_bias, limits, chunk, outer_chunk, shared, l2, exact, normalize, *states):  # type: ignore[no-untyped-def]
        X, Q = array(inputs, 2), array(queries, 2)
        count, tokens, d = X.shape
        difference = side_by_side(states[:5], count, d)
        home = side_by_side(states[5:], count, d) if states[5:] else np.zeros_like(difference)
        difference -= home
        base = home.copy()
        base[:, np.r_[:d, d : 2 * d, 2 * d + 2 : 3 * d + 2], np.r_[:d, :d, :d]] += 1
        bias = np.stack([array(rate_bias).ravel(), array(retain_bias).ravel()], -1)
        keep = any(ctx.needs_input_grad)
        outer_states = empty((count, -(-tokens // outer_chunk) if keep else 0, d, (3 if shared else 2) * d + 2), X)
        inner_states = empty((count, -(-tokens // chunk) if keep and not shared else 0, d, d), X)
        final, outputs = empty(base.shape, X), empty(X.shape, X)
        options = (np.array(limits, X.dtype), chunk, outer_chunk, shared, l2, exact, normalize)
        forward(count, X, Q, difference, base, bias, *options, outer_states, inner_states, final, outputs)
        final += home
        ctx.saved, ctx.options, ctx.states = (X, Q, base, bias), options, (outer_states, inner_states)
        ctx.shape, ctx.returns_home = inputs.shape[:2], bool(states[5:])
        return tensor(outputs, *inputs.shape), *apart(final, *ctx.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_outputs, *d_states):  # type: ignore[no-untyped-def]
        X, Q, base, bias = ctx.saved
        D = side_by_side(d_states, *X.shape[::2])
        d_end = D.copy()
        dX, dQ, dB, db = (empty(each.shape, X) for each in (X, Q, base, bias))
        backward(len(X), X, Q, base, bias, *ctx.options, *ctx.states, array(d_outputs, 2), D, dX, dQ, dB, db)
        tokens, (d_rate_bias, d_retain_bias) = (*ctx.shape, *X.shape[1:]), np.ascontiguousarray(db.T)
        found = tensor(dX, *tokens), tensor(dQ, *tokens), tensor(d_rate_bias, *ctx.shape), tensor(d_retain_bias, *ctx.shape)
        homes = apart(d_end + dB - D, *ctx.shape) if ctx.returns_home else ()
        return (*found, *(None,) * 7, *apart(D, *ctx.shape), *homes)


def side_by_side(memories: tuple[Tensor, ...], count: int, d: int) -> np.ndarray:
    """All rows of all memories, (count, 3 d + 2, d), in the order of `Memories`."""
    return np.concatenate([array(each).reshape(count, -1, d) for each in memories], 1)


def apart(rows: np.ndarray, seeds: int, heads: int) -> tuple[Tensor, ...]:
    """The five memories whose rows lie side by side, each in its own shape."""
    d = rows.shape[-1]
    parts = np.split(rows, [d, 2 * d, 2 * d + 1, 2 * d + 2], 1)
    shapes = [(d, d), (d, d), (d,), (d,), (d, d)]
    return tuple(tensor(np.ascontiguousarray(part), seeds, heads, *shape) for part, shape in zip(parts, shapes, strict=True))


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
) -> tuple[Memories, Tensor]:
    """Memories and outputs after all tokens; arguments as in `self_referential_scan`."""
    shared = chunk == outer_chunk and rate_max == outer_rate_max and read == "stale"
    options = (
        (rate_max, outer_rate_max, retain_min),
        chunk,
        outer_chunk,
        shared,
        objective == "l2",
        read == "exact",
        normalize_values,
    )
    outputs, *states = _Scan.apply(inputs, queries, rate_bias, retain_bias, *options, *memories, *(initial or ()))
    return Memories(*states), outputs
