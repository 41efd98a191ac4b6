"""Short polynomials against the library's own functions in float64, over all that float32 can hold of them."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest

from nlbench.kernels.elementary import exp, sigmoid, upper_tail


@numba.njit
def all_exp(x, out):
    for i in range(len(x)):
        out[i] = exp(x[i])


@numba.njit
def all_sigmoid(x, out):
    for i in range(len(x)):
        out[i] = sigmoid(x[i])


@numba.njit
def all_tails(x, out):
    for i in range(len(x)):
        out[i] = upper_tail(x[i], exp(-x[i] * x[i] * x.dtype.type(0.5)))


def found(function, x):
    out = np.empty_like(x)
    function(x, out)
    return out


def test_exp_is_within_two_roundings_and_saturates():
    x = np.linspace(-87, 88, 200_001).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    assert np.abs(found(all_exp, x) / exact - 1).max() < 2 * np.finfo(np.float32).eps
    ends = found(all_exp, np.array([-200, 200], np.float32))
    assert np.isfinite(ends).all()
    assert ends[0] < 1e-37
    assert ends[1] > 1e38


def test_upper_tail_is_that_of_the_normal_distribution():
    z = np.linspace(0, 8, 10_001).astype(np.float32)
    exact = np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in z.astype(np.float64)])
    assert np.abs(found(all_tails, z) - exact).max() < 2e-7


@pytest.mark.parametrize("function", [all_exp, all_sigmoid, all_tails])
def test_float64_takes_the_library(function):
    x = np.linspace(0, 5, 101)
    exact = {all_exp: np.exp(x), all_sigmoid: 1 / (1 + np.exp(-x))}.get(function)
    if exact is None:
        exact = np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in x])
    assert np.abs(found(function, x) - exact).max() < 1e-15 * max(1, exact.max())


def test_sigmoid_is_symmetric_and_bounded():
    x = np.linspace(-100, 100, 2001).astype(np.float32)
    y = found(all_sigmoid, x)
    assert np.abs(y + y[::-1] - 1).max() < 1e-6
    assert (y.min(), y.max()) >= (0.0, 0.5)
    assert y.max() <= 1.0
