"""Targets that are clipped at their length, in Numba: what the clip adds to them and, backward, what it owes.

made (C, rows) are the targets of all memories side by side, d rows for keys and values, one a gate, d for the fifth.
"""

from __future__ import annotations

import numpy as np

from nlbench.kernels.tiles import kernel


@kernel()
def values_of(K, probes, l2, out):  # type: ignore[no-untyped-def]
    """out (C, d) becomes the values, of which the probes are what is left without the keys ("l2"), or all."""
    for t in range(K.shape[0]):
        for i in range(K.shape[1]):
            out[t, i] = probes[t, i] + K[t, i] if l2 else probes[t, i]


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
def clipped_backward(made, longest, d, Z, out, shares):  # type: ignore[no-untyped-def]
    """out becomes what reaches targets by `add_clipped`, of Z, which reaches its sums; shares (C,) Σ Z times what it added."""
    for t in range(made.shape[0]):
        first, total, one = 0, made.dtype.type(0), made.dtype.type(1)
        for width in (d, d, 1, 1, made.shape[1] - 2 * d - 2):
            square, along = made.dtype.type(0), made.dtype.type(0)
            for i in range(first, first + width):
                square += made[t, i] * made[t, i]
                along += made[t, i] * Z[t, i]
            if square > longest * longest:
                kept = longest / np.sqrt(square)
                turned = kept * along / square
                total += (kept - one) * along
                for i in range(first, first + width):
                    out[t, i] = (kept - one) * Z[t, i] - turned * made[t, i]
            else:
                for i in range(first, first + width):
                    out[t, i] = 0
            first += width
        shares[t] = total
