"""What the memories make of tokens in Numba: keys, probes and gates, and backward what reaches the products they come from."""

from __future__ import annotations

import numpy as np

from nlbench.kernels.elementary import sigmoid
from nlbench.kernels.self_referential_scan.reference import TINY
from nlbench.kernels.tiles import gemm, kernel


@kernel(fastmath={"reassoc", "contract"})
def row_dot(A, B, t):  # type: ignore[no-untyped-def]
    """Σ_i A[t, i] B[t, i]."""
    total = A.dtype.type(0)
    for i in range(A.shape[1]):
        total += A[t, i] * B[t, i]
    return total


@kernel(fastmath={"reassoc", "contract"})
def scale_of(raw, t, first, d):  # type: ignore[no-untyped-def]
    """1 / length of raw[t, first : first + d]."""
    total = raw.dtype.type(TINY)
    for i in range(first, first + d):
        total += raw[t, i] * raw[t, i]
    return raw.dtype.type(1) / np.sqrt(total)


@kernel()
def project(X, UT, bias, l2, normalize, raw, K, probes, scale, share):  # type: ignore[no-untyped-def]
    """Keys, probes and the gates' sigmoids of the tokens X (C, d) from UT (d, 2 d + 2, …), the transposed base + D.

    scale (C, 2) of keys and values, share (2, C)
    """
    tokens, d = X.shape
    one = X.dtype.type(1)
    gemm(1.0, X, UT[:, : 2 * d + 2], 0.0, raw)
    subtract = X.dtype.type(1 if l2 else 0)
    for t in range(tokens):
        of_key = scale_of(raw, t, 0, d)
        of_value = scale_of(raw, t, d, d) if normalize else one
        scale[t, 0], scale[t, 1] = of_key, of_value
        for i in range(d):
            K[t, i] = of_key * raw[t, i]
        for i in range(d):
            probes[t, i] = of_value * raw[t, d + i] - subtract * K[t, i]
        share[0, t], share[1, t] = sigmoid(raw[t, 2 * d] + bias[0]), sigmoid(raw[t, 2 * d + 1] + bias[1])


@kernel()
def raw_backward(K, probes, scale, share, l2, normalize, dK, d_probes, d_share, v, raw):  # type: ignore[no-untyped-def]
    """raw (C, 2 d + 2) becomes what reaches it through `project`, v the values; d_share (2, C). Uses up dK."""
    tokens, d = K.shape
    one = K.dtype.type(1)
    for t in range(tokens):
        add = one if l2 else one - one
        for i in range(d):
            dK[t, i] -= add * d_probes[t, i]
        for i in range(d):
            v[t, i] = probes[t, i] + add * K[t, i]
        of_key, of_value, along = scale[t, 0], scale[t, 1], row_dot(dK, K, t)
        for i in range(d):
            raw[t, i] = of_key * (dK[t, i] - along * K[t, i])
        along = row_dot(d_probes, v, t) if normalize else K.dtype.type(0)
        for i in range(d):
            raw[t, d + i] = of_value * (d_probes[t, i] - along * v[t, i])
        raw[t, 2 * d] = d_share[0, t] * share[0, t] * (one - share[0, t])
        raw[t, 2 * d + 1] = d_share[1, t] * share[1, t] * (one - share[1, t])
