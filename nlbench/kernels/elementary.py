"""Elementary functions for Numba kernels: in float32 short polynomials that loops vectorise, in float64 the library's own."""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import overload

from nlbench.kernels.tiles import intrinsic


@intrinsic
def _power_of_two(context, n):  # type: ignore[no-untyped-def]
    """2ⁿ for an integral float32 n in [-126, 127]: n becomes the exponent bits."""

    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        integer = ir.IntType(32)
        exponent = builder.add(builder.fptosi(arguments[0], integer), ir.Constant(integer, 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(integer, 23)), ir.FloatType())

    return types.float32(types.float32), emit


def exp(x):  # type: ignore[no-untyped-def]
    """eˣ, in float32 within two roundings for x in [-87, 88], where it saturates."""
    raise NotImplementedError("for use inside Numba kernels")


@overload(exp, inline="always")
def _exp(x):  # type: ignore[no-untyped-def]
    if x != types.float32:
        return lambda x: np.exp(x)
    one, half = np.float32(1), np.float32(0.5)
    log2_e, ln2_high, ln2_low = np.float32(1.4426950408889634), np.float32(0.693359375), np.float32(-2.12194440e-4)
    low, high = np.float32(-87), np.float32(88)
    c7, c6, c5, c4, c3 = (np.float32(1 / math.factorial(n)) for n in (7, 6, 5, 4, 3))

    def single(x):  # type: ignore[no-untyped-def]
        x = min(max(x, low), high)
        n = np.floor(x * log2_e + half)
        r = x - n * ln2_high - n * ln2_low  # in two parts: n times the first is exact
        return ((((((c7 * r + c6) * r + c5) * r + c4) * r + c3) * r + half) * r + one) * r * _power_of_two(n) + _power_of_two(n)

    return single


def upper_tail(z, density):  # type: ignore[no-untyped-def]
    """1 - Φ(z) of the standard normal distribution for z ≥ 0, given density = exp(-z² / 2); in float32 within 2e-7."""
    raise NotImplementedError("for use inside Numba kernels")


@overload(upper_tail, inline="always")
def _upper_tail(z, density):  # type: ignore[no-untyped-def]
    if z != types.float32:
        return lambda z, density: 0.5 * math.erfc(z * 0.7071067811865476)
    # exp(y²) erfc(y) = q(1 / (1 + y / 2)) with y = z / √2: least squares on y in [0, 6], error 1.3e-9 before rounding.
    one, slope = np.float32(1), np.float32(0.5 * math.sqrt(0.5))
    fitted = (
        -0.05247153141,
        0.3509914336,
        -0.9128139129,
        1.037191043,
        -0.4160167619,
        0.4769914352,
        0.2270549178,
        0.289501884,
        -0.000428506579,
    )
    c8, c7, c6, c5, c4, c3, c2, c1, c0 = (np.float32(0.5 * each) for each in fitted)

    def single(z, density):  # type: ignore[no-untyped-def]
        t = one / (one + slope * z)
        return density * ((((((((c8 * t + c7) * t + c6) * t + c5) * t + c4) * t + c3) * t + c2) * t + c1) * t + c0)

    return single


def sigmoid(x):  # type: ignore[no-untyped-def]
    """1 / (1 + e⁻ˣ)."""
    raise NotImplementedError("for use inside Numba kernels")


@overload(sigmoid, inline="always")
def _sigmoid(x):  # type: ignore[no-untyped-def]
    return lambda x: 1 / (1 + exp(-x))
