"""Student's t distribution in plain Python: an interval beside a run's numbers should not cost the import of scipy.special."""

from __future__ import annotations

from math import exp, inf, lgamma, log, pi
from typing import Final

_ENOUGH: Final = 1e-15
"""Factors that differ from 1 by less are rounding."""


def upper_tail(t: float, freedom: float) -> float:
    """Return P(T > t) for t ≥ 0, to 11 digits up to 1,000 degrees of freedom. Cost: 10 to 100 steps of a continued fraction."""
    share = t * t / (freedom + t * t)
    if share < 1.5 / (freedom / 2 + 2.5):  # where the fraction is quick
        return (1 - _beta(share, 0.5, freedom / 2)) / 2
    return _beta(freedom / (freedom + t * t), freedom / 2, 0.5) / 2


def quantile(probability: float, freedom: float) -> float:
    """Return t with P(T ≤ t) = `probability`, above 1/2 and below 1.

    The tail is convex there, so that Newton's steps from 0 come nearer from one side and never pass it.
    """
    tail, t, step = 1 - probability, 0.0, inf
    scale = lgamma((freedom + 1) / 2) - lgamma(freedom / 2) - log(pi * freedom) / 2
    while step > 1e-14 * t:
        density = exp(scale - (freedom + 1) / 2 * log(1 + t * t / freedom))
        step = (upper_tail(t, freedom) - tail) / density
        t += step
    return t


def _beta(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b): Lentz's way through its continued fraction, DLMF 8.17.22."""
    if x <= 0:
        return 0.0
    front = exp(a * log(x) + b * log(1 - x) + lgamma(a + b) - lgamma(a) - lgamma(b)) / a
    numerator, denominator = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction, m, factor = denominator, 1, inf
    while abs(factor - 1) > _ENOUGH:
        factor = 1.0
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for coefficient in (even, odd):
            denominator = 1 / (1 + coefficient * denominator)
            numerator = 1 + coefficient / numerator
            factor *= denominator * numerator
        fraction *= factor
        m += 1
    return front * fraction
