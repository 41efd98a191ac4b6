"""Small-sample statistics of values and of paired differences over seeds; pure functions of arrays.

Seeds are the sample: 5 to 20 of them. Student-t intervals hold their level there (a percentile bootstrap covers 84 % at 5 seeds),
and a sign-flip test is exact at any number. Of scipy only `special` is used, imported on first use (0.2 s that a mean with its
interval does not need); scipy.stats costs a second.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from math import fsum
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from nlbench import seeds
from nlbench.comparison import student

EXACT_SEEDS: Final = 16  # up to here all 2^n sign patterns are enumerated
RANDOM_PATTERNS: Final = 2**16 - 1
MOST_SEEDS: Final = 1000  # what would need more seeds than this is not worth asking for
ROUNDING: Final = 1e-12  # differences of accuracies below this are rounding, not spread

Alternative = Literal["two-sided", "greater", "less"]


class Interval(NamedTuple):
    """A mean with its confidence interval; the bounds are NaN with one value, and equal the mean where nothing varies."""

    mean: float
    low: float
    high: float
    sd: float
    n: int


def _mean_sd(values: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation, NaN for one value. Plain floats: at n = 5 numpy's overhead is most of the time."""
    found = values.tolist()
    mean = fsum(found) / len(found)
    if len(found) < 2:
        return mean, float("nan")
    sd = (fsum((value - mean) ** 2 for value in found) / (len(found) - 1)) ** 0.5
    return mean, 0.0 if sd <= ROUNDING else sd


def _special() -> Any:
    import scipy.special as special

    return special


@lru_cache(maxsize=1024)
def _t_quantile(freedom: float, probability: float) -> float:
    return student.quantile(probability, freedom)


def mean_interval(
    values: np.ndarray, confidence: float = 0.95, within: tuple[float, float] = (-float("inf"), float("inf"))
) -> Interval:
    """Return the mean of (n,) values with its two-sided Student-t interval. One-sided bounds at α: confidence 1 − 2α.

    The interval is cut at the bounds of what the values can be, `within`. The true mean lies there too, so that a cut interval
    holds it exactly when the whole one does: it is shorter at the same coverage.
    """
    n = values.size
    mean, sd = _mean_sd(values)
    if n < 2:
        return Interval(mean, float("nan"), float("nan"), sd, n)
    half = _t_quantile(n - 1, (1 + confidence) / 2) * sd / n**0.5
    return Interval(mean, max(mean - half, within[0]), min(mean + half, within[1]), sd, n)


def difference_interval(first: np.ndarray, second: np.ndarray, confidence: float = 0.95) -> Interval:
    """Return mean(first) − mean(second) of independent samples with Welch's interval (Welch 1947).

    n is the smaller sample's; sd is that of n differences whose mean would be as uncertain.
    """
    (mean_1, sd_1), (mean_2, sd_2) = _mean_sd(first), _mean_sd(second)
    mean, n = mean_1 - mean_2, min(first.size, second.size)
    if n < 2:
        return Interval(mean, float("nan"), float("nan"), float("nan"), n)
    a, b = sd_1**2 / first.size, sd_2**2 / second.size
    if a + b == 0:
        return Interval(mean, mean, mean, 0.0, n)
    freedom = (a + b) ** 2 / (a**2 / (first.size - 1) + b**2 / (second.size - 1))
    half = _t_quantile(freedom, (1 + confidence) / 2) * (a + b) ** 0.5
    return Interval(mean, mean - half, mean + half, (n * (a + b)) ** 0.5, n)


def t_test(differences: np.ndarray) -> float:
    """Return the two-sided p of Student's paired t test that the mean of (n,) differences is 0; 1 or 0 where nothing varies."""
    n = differences.size
    mean, sd = _mean_sd(differences)
    if n < 2:
        return float("nan")
    if sd == 0:
        return 1.0 if abs(mean) <= ROUNDING else 0.0
    return 2 * student.upper_tail(abs(mean) / (sd / n**0.5), n - 1)


def sign_flip_test(differences: np.ndarray, alternative: Alternative = "two-sided") -> float:
    """Return the p of the sign-flip permutation test that (n,) paired differences are symmetric around 0. Fisher 1935.

    Exact over all 2^n sign patterns up to n = 16, so that p is at least 2^−n (one-sided) or 2^(1−n); beyond, 65,535 patterns of a
    counter-based generator with a fixed key, with the observed pattern counted in, so that p is never 0 and repeats exactly.
    """
    sums = _signs(differences.size) @ differences
    observed = float(differences.sum())
    slack = ROUNDING * max(1.0, float(np.abs(differences).sum()))  # sums that tie but for rounding count as ties
    as_extreme = {
        "two-sided": np.abs(sums) >= abs(observed) - slack,
        "greater": sums >= observed - slack,
        "less": sums <= observed + slack,
    }[alternative]
    return float(as_extreme.mean())


@lru_cache(maxsize=4)
def _signs(n: int) -> np.ndarray:
    """Return the sign patterns (P, n), the observed one (all +1) first."""
    if n <= EXACT_SEEDS:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    else:
        draws = seeds.generator(seeds.FIXED, f"sign-flip/{n}").integers(0, 2, (RANDOM_PATTERNS, n))
        bits = np.concatenate([np.zeros((1, n), dtype=draws.dtype), draws])
    return 1.0 - 2.0 * bits


def smallest_p(n: int) -> float:
    """Return the least two-sided p that a sign-flip test of n differences can give."""
    return 2.0 ** (1 - n) if n <= EXACT_SEEDS else 1 / (RANDOM_PATTERNS + 1)


def fewest_seeds(level: float) -> int | None:
    """Return the fewest differences of which a two-sided sign-flip test can give p ≤ level, or None if none can."""
    return next((n for n in range(2, EXACT_SEEDS + 2) if smallest_p(n) <= level), None)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p (m,) adjusted by Holm's step-down method, in the order given: family-wise error at any dependence. Holm 1979."""
    order = np.argsort(p_values)
    adjusted = np.empty_like(p_values, dtype=np.float64)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * np.arange(p_values.size, 0, -1)))
    return adjusted


def effect_size(differences: np.ndarray) -> float | None:
    """Return mean / standard deviation of (n,) paired differences (Cohen's d_z), or None where nothing varies or n < 2."""
    mean, sd = _mean_sd(differences)
    return mean / sd if sd > 0 else None


def seeds_to_tell(differences: np.ndarray, *, tests: int = 1, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Return the seeds at which a difference such as this one would be found, or None if that takes more than 1,000.

    The smallest n at which (a) a sign-flip test can go below α / tests at all, and (b) a two-sided paired t test at α / tests
    finds a true mean and standard deviation such as the observed ones with the given power (noncentral t).
    """
    level = alpha / tests
    mean, sd = _mean_sd(differences)
    mean = abs(mean)
    least = fewest_seeds(level)
    if least is None or mean <= ROUNDING or np.isnan(sd):
        return None
    if sd == 0:
        return least

    def enough(n: int) -> bool:
        return _missed(n - 1, mean / sd * n**0.5, _t_quantile(n - 1, 1 - level / 2)) <= 1 - power

    candidates = range(least, MOST_SEEDS + 1)
    index = bisect_left(candidates, True, key=enough)  # power grows with n
    return candidates[index] if index < len(candidates) else None


def seeds_to_bound(sd: float, distance: float, confidence: float) -> int | None:
    """Return the seeds at which half of a Student-t interval falls below a distance, or None if that takes more than 1,000."""
    sizes = range(2, MOST_SEEDS + 1)
    index = bisect_left(sizes, True, key=lambda n: _t_quantile(n - 1, (1 + confidence) / 2) * sd / n**0.5 < distance)
    return sizes[index] if index < len(sizes) else None


def seeds_to_clear(sd: float, distances: Sequence[float], confidence: float, power: float = 0.8) -> int | None:
    """Return the seeds at which a Student-t interval lies clear of bounds at these distances from its mean, in a share `power` of
    repetitions, if mean and standard deviation are those observed; None if that takes more than 1,000.

    What is missed of several bounds is added up, which is what is missed at most (noncentral t).
    """
    sizes = range(2, MOST_SEEDS + 1)

    def enough(n: int) -> bool:
        critical = _t_quantile(n - 1, (1 + confidence) / 2)
        return sum(_missed(n - 1, distance / sd * n**0.5, critical) for distance in distances) <= 1 - power

    index = bisect_left(sizes, True, key=enough)  # power grows with n
    return sizes[index] if index < len(sizes) else None


def _missed(freedom: int, shift: float, critical: float) -> float:
    """Return how often a noncentral t stays below a critical value; nctdtr fails at large shifts."""
    return 0.0 if shift > critical + 10 else float(_special().nctdtr(freedom, shift, critical))


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks within each row of (N, k) values, 1 for the smallest, ties averaged."""
    smaller = (values[:, None, :] < values[:, :, None]).sum(-1)
    equal = (values[:, None, :] == values[:, :, None]).sum(-1)
    return smaller + (equal + 1) / 2


def friedman_test(values: np.ndarray) -> float:
    """Return the p that k columns of (N, k) values rank alike over N blocks, corrected for ties. Friedman 1937."""
    blocks, k = values.shape
    ties = ((values[:, None, :] == values[:, :, None]).sum(-1) ** 2 - 1).sum()
    correction = 1 - ties / (blocks * k * (k**2 - 1))
    if correction == 0:
        return 1.0
    statistic = 12 / (blocks * k * (k + 1)) * (ranks(values).sum(0) ** 2).sum() - 3 * blocks * (k + 1)
    return float(_special().chdtrc(k - 1, statistic / correction))


def critical_difference(k: int, blocks: int, alpha: float = 0.05) -> float:
    """Return how far the mean ranks of two of k learners over N blocks must lie apart to differ: Nemenyi, as in Demšar 2006."""
    return _studentized_range(k, alpha) / 2**0.5 * (k * (k + 1) / (6 * blocks)) ** 0.5


@lru_cache(maxsize=64)
def _studentized_range(k: int, alpha: float) -> float:
    """Return the 1 − α quantile of the range of k standard normals: P(range ≤ q) = k ∫ φ(z) (Φ(z) − Φ(z − q))^(k−1) dz."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    z = 10 * nodes
    density = 10 * weights * np.exp(-(z**2) / 2) / (2 * np.pi) ** 0.5
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        below = k * density @ (_special().ndtr(z) - _special().ndtr(z - middle)) ** (k - 1)
        low, high = (middle, high) if below < 1 - alpha else (low, middle)
    return (low + high) / 2


def pareto_front(gain: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Return which of (k,) points no other one beats: none has at least its gain at no more cost, one of them strictly."""
    no_worse = (gain[None, :] >= gain[:, None]) & (cost[None, :] <= cost[:, None])
    strictly = (gain[None, :] > gain[:, None]) | (cost[None, :] < cost[:, None])
    return np.logical_not((no_worse & strictly).any(axis=1))
