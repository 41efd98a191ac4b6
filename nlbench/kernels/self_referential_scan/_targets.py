"""Targets that are clipped at their length, in Numba: what the clip adds to them and, backward, what it owes.

made (C, rows) are the targets of all memories side by side, d rows for keys and values, one a gate, d for the fifth.
"""

from __future__ import annotations

import numpy as np

from nlbench.kernels.memory_scan._chunk import weighted_rows
from nlbench.kernels.tiles import add, gemm, kernel, transpose


@kernel()
def targets(K, probes, UT, l2, v, out):  # type: ignore[no-untyped-def]
    """v (C, d) becomes the values, out (C, rows) what all memories make of them."""
    for t in range(K.shape[0]):
        for i in range(K.shape[1]):
            v[t, i] = probes[t, i] + K[t, i] if l2 else probes[t, i]
    gemm(1.0, v, UT, 0.0, out)


@kernel(fastmath={"reassoc", "contract"})
def add_clipped(made, longest, d, out):  # type: ignore[no-untyped-def]
    """Add to out what a clip at their length adds to the targets that the memories made: nothing to those short enough."""
    for t in range(made.shape[0]):
        first = 0
        for width in (d, d, 1, 1, made.shape[1] - 2 * d - 2):
            square = made.dtype.type(0)
            for i in range(first, first + width):
                square += made[t, i] * made[t, i]
            if square > longest * longest:
                less = longest / np.sqrt(square) - made.dtype.type(1)
                for i in range(first, first + width):
                    out[t, i] += less * made[t, i]
            first += width


@kernel(fastmath={"reassoc", "contract"})
def clipped_backward(made, longest, d, Z, shares):  # type: ignore[no-untyped-def]
    """Z, what reaches each sum of `add_clipped`, becomes what reaches the targets by it; shares (C,) Σ Z times what was added."""
    for t in range(made.shape[0]):
        first, total, one = 0, made.dtype.type(0), made.dtype.type(1)
        for width in (d, d, 1, 1, made.shape[1] - 2 * d - 2):
            square, along = made.dtype.type(0), made.dtype.type(0)
            for i in range(first, first + width):
                square += made[t, i] * made[t, i]
                along += made[t, i] * Z[t, i]
            if square > longest * longest:
                kept = longest / np.sqrt(square)
                total += (kept - one) * along
                for i in range(first, first + width):
                    Z[t, i] = (kept - one) * Z[t, i] - kept * along / square * made[t, i]
            else:
                for i in range(first, first + width):
                    Z[t, i] = 0
            first += width
        shares[t] = total


@kernel()
def doubled(A, out):  # type: ignore[no-untyped-def]
    """out = [A, A]."""
    d = A.shape[1]
    for t in range(A.shape[0]):
        for i in range(d):
            out[t, i] = A[t, i]
        for i in range(d):
            out[t, d + i] = A[t, i]


@kernel()
def targets_backward(K, probes, U, UT, limits, l2, G, s, r):  # type: ignore[no-untyped-def]
    """Add what clipped targets owe to G, d_probes, d_k and d_share, after `update_backward`, whose Z it uses up."""
    d = K.shape[1]
    transpose(U, UT)
    targets(K, probes, UT, l2, r.values, r.made)
    clipped_backward(r.made, limits[2], d, r.Z, r.lengths)
    for t in range(K.shape[0]):
        r.d_share[0, t] += limits[0] * r.lengths[t]
    weighted_rows(s.eta, r.Z, r.Z)
    doubled(r.values, r.doubled)
    gemm(1.0, r.Z.T, r.doubled, 1.0, G)
    gemm(1.0, r.Z, U, 0.0, r.values)
    add(r.values, r.d_probes)
    if l2:
        add(r.values, r.d_k)
