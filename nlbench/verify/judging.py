"""Whether what is claimed holds of values by seed: pure functions of numbers.

Each statement is judged by a Student-t interval over seeds, of a mean, of paired differences or of slopes, at 1 - α / m for the
m statements of its claim (Bonferroni), so that a claim is wrongly said to hold, or not to, in at most one of twenty at α = .05.
What is said of differences and slopes must also pass the exact sign-flip test, which asks nothing of their distribution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from nlbench.comparison import statistics
from nlbench.comparison.statistics import Interval
from nlbench.verify.model import Finding, Verdict
from nlbench.verify.statements import Equality, Order, Slope, Statement, Value
from nlbench.verify.words import worded

ALPHA: Final = 0.05
SELF_EVIDENT: Final[Mapping[Verdict, str]] = {
    "holds": "the whole interval is where it must be",
    "does not hold": "the whole interval is where it must not be",
}
"""The reasons of what is decided."""

Seeds = Mapping[int, float]


def judge(statement: Statement, values: Mapping[str, Seeds], tests: int = 1) -> Finding:
    """Return the finding on a statement, one of `tests`, from its cells' values by seed. Only common seeds count."""
    common = sorted(set.intersection(*(set(values[name]) for name in statement.cells)))
    if len(common) < 2:
        return Finding(worded(statement), "undecided", "one seed has no spread", seeds=len(common))
    rows = {name: np.array([values[name][seed] for seed in common]) for name in statement.cells}
    level, unit = ALPHA / tests, 1.0
    match statement:
        case Value():
            sample = rows[statement.of]
            low, high = statement.equals - statement.band, statement.equals + statement.band
        case Order():
            sample, low, high = rows[statement.above] - rows[statement.below], statement.by, float("inf")
        case Equality():
            sample, low, high = rows[statement.of] - rows[statement.to], -statement.within, statement.within
        case Slope():
            unit = 1 / (max(statement.against) - min(statement.against))  # what is rounding is so of a rise, not of a slope
            sample = slopes(statement.against, [rows[name] for name in statement.of]) / unit
            low, high = statement.at_least / unit, float("inf")
    return _finding(worded(statement), sample, low, high, level, unit, tested=isinstance(statement, Order | Slope))


def slopes(x: Sequence[float], rows: Sequence[np.ndarray]) -> np.ndarray:
    """Return the least-squares slope of each seed's values, (runs, seeds), against the runs' numbers: (seeds,)."""
    centred = np.array(x) - np.mean(x)
    return centred @ np.array(rows) / (centred @ centred)


def _finding(words: str, sample: np.ndarray, low: float, high: float, level: float, unit: float, *, tested: bool) -> Finding:
    """Return the finding on a sample that must lie between low and high; its numbers are given times `unit`."""
    interval = statistics.mean_interval(sample, 1 - level)
    p = statistics.sign_flip_test(sample - low) if tested else None
    edges = tuple(edge for edge in (low, high) if np.isfinite(edge))
    verdict = _verdict(interval, low, high)
    doubt = "" if verdict == "undecided" else _doubt(interval, p, level)
    enough = None
    if verdict == "undecided" or doubt:
        verdict = "undecided"
        enough = _seeds_to_tell(interval, edges, level, tested=tested or interval.sd == 0)
    would = f"{enough} seeds would tell, four times in five, if mean and spread stay" if enough else "no 1,000 seeds would tell"
    reason = SELF_EVIDENT.get(verdict) or (f"{doubt}; {would}" if doubt else would)
    mean, least, most = (unit * number for number in (interval.mean, interval.low, interval.high))
    return Finding(words, verdict, reason, mean, least, most, tuple(unit * edge for edge in edges), p, interval.n, enough)


def _verdict(interval: Interval, low: float, high: float) -> Verdict:
    """Return what an interval says of a range; one that only touches it, to rounding, holds nothing: no order by 0 is one of
    equals.
    """
    inner_low, inner_high = low + statistics.ROUNDING, high - statistics.ROUNDING
    if interval.low > inner_low and interval.high < inner_high:
        return "holds"
    strictly = interval.sd == 0 and not inner_low < interval.mean < inner_high
    return "does not hold" if interval.high < low or interval.low > high or strictly else "undecided"


def _doubt(interval: Interval, p: float | None, level: float) -> str:
    """Return why seeds are too few to believe an interval; empty if they are not. Where nothing varies it has no length, so that
    as many are asked for as a sign-flip test would need.
    """
    n, fewest = interval.n, statistics.fewest_seeds(level)
    few = fewest is None or n < fewest
    if interval.sd == 0:
        return f"nothing varies over {n} seeds, too few to say that nothing would" if few else ""
    if p is None or p <= level:
        return ""
    said = f"the sign-flip test gives p = {p:.2g}, and must give {level:.2g} or less"
    return f"{said}, which {n} seeds cannot" if few else said


def _seeds_to_tell(interval: Interval, edges: Sequence[float], level: float, *, tested: bool) -> int | None:
    """Return the seeds at which the interval would be clear of the edges and a sign-flip test, where asked, could be passed."""
    distances = sorted(abs(interval.mean - edge) for edge in edges)
    if distances[0] <= statistics.ROUNDING and interval.sd > 0:
        return None
    inside = len(edges) == 2 and edges[0] < interval.mean < edges[1]
    fewest = statistics.fewest_seeds(level) if tested else 2
    found = 2 if interval.sd == 0 else statistics.seeds_to_clear(interval.sd, distances if inside else distances[:1], 1 - level)
    return None if found is None or fewest is None else max(found, fewest, interval.n + 1)
