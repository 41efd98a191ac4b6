"""Statements, numbers and intervals as text."""

from __future__ import annotations

from nlbench.comparison.statistics import Interval
from nlbench.sweep.grid import as_toml
from nlbench.verify.claims import Quick
from nlbench.verify.model import Finding
from nlbench.verify.statements import Equality, Order, Slope, Statement, Value


def worded(statement: Statement) -> str:
    """Return a statement in words."""
    metric = statement.metric.replace("_", " ")
    match statement:
        case Value():
            return f"{metric} of {statement.of} is {statement.equals:g} ± {statement.band:g}"
        case Order(by=0):
            return f"{metric} of {statement.above} is above that of {statement.below}"
        case Order():
            return f"{metric} of {statement.above} is above that of {statement.below} by {statement.by:g} or more"
        case Equality():
            return f"{metric} of {statement.of} is that of {statement.to}, within {statement.within:g}"
        case Slope():
            runs = ", ".join(f"{name} ({x:g})" for name, x in zip(statement.of, statement.against, strict=True))
            return f"{metric} rises by {statement.at_least:g} or more for each 1, over {runs}"


def number(value: float) -> str:
    """Return a number to four places, without a leading zero, as tables of accuracies print it."""
    return f"{value:.4f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.4g}"


def interval(found: Finding | Interval) -> str:
    """Return a mean and the ends of its interval."""
    if found.mean is None:
        return "–"
    if found.low is None or found.high is None or found.low != found.low:
        return number(found.mean)
    return f"{number(found.mean)} [{number(found.low)}, {number(found.high)}]"


def expected(finding: Finding) -> str:
    """Return the range that the whole interval must lie in."""
    if not finding.expected:
        return "–"
    low, *high = map(number, finding.expected)
    return f"{low} to {high[0]}" if high else f"above {low}"


def reduction(quick: Quick) -> str:
    """Return what a reduced form puts in place of the full one's; empty if nothing."""
    streams = [f"{small} for {large}" for large, small in quick.streams.items()]
    values = [f"{key} = {as_toml(value)}" for key, value in quick.set.items()]
    values += [f"{key} = {as_toml(value)} of {name}" for name, own in quick.cells.items() for key, value in own.items()]
    return "; ".join([*streams, *([f"{quick.seeds} seeds"] if quick.seeds else []), *values])
