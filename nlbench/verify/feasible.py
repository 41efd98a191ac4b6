"""Whether statements can hold together: a linear program over the means that they are of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from nlbench.metrics import METRICS
from nlbench.verify.statements import Equality, Order, Slope, Statement, Value

LEAST: Final = 1e-9
"""What is left between a mean and its edges, at least: an interval that lies on an edge holds nothing."""

Bound = tuple[dict[str, float], float]
"""A weight for each run, and what the weighted sum of their means must stay below."""


def clash(statements: Sequence[Statement]) -> tuple[int, ...]:
    """Return the numbers of the first statement that cannot hold where earlier ones do and of those that it cannot hold with, in
    order, none of which could be left out; empty if all can hold together. Cost: some milliseconds for each statement.
    """
    for last in range(len(statements)):
        if not feasible(statements[: last + 1]):
            needed = list(range(last + 1))
            for number in range(last):
                rest = [one for one in needed if one != number]
                if not feasible([statements[one] for one in rest]):
                    needed = rest
            return tuple(needed)
    return ()


def feasible(statements: Sequence[Statement]) -> bool:
    """Return whether there are means, each in the range of its metric, that meet every statement with something to spare."""
    from scipy.optimize import linprog

    names = sorted({(statement.metric, cell) for statement in statements for cell in statement.cells})
    column = {name: number for number, name in enumerate(names)}
    rows, edges = [], []
    for statement in statements:
        for weights, edge in bounds(statement):
            row = np.zeros(len(names) + 1)
            for cell, weight in weights.items():
                row[column[statement.metric, cell]] += weight
            row[-1] = 1.0
            rows.append(row)
            edges.append(edge)
    ranges = [METRICS[metric].range for metric, _ in names]
    found = linprog(-np.eye(len(names) + 1)[-1], np.array(rows), edges, bounds=[*ranges, (None, 1.0)])
    return found.status == 0 and -found.fun > LEAST


def bounds(statement: Statement) -> Iterator[Bound]:
    """Yield what the means of its runs must meet."""
    match statement:
        case Value():
            yield {statement.of: 1.0}, statement.equals + statement.band
            yield {statement.of: -1.0}, statement.band - statement.equals
        case Order():
            yield {statement.below: 1.0, statement.above: -1.0}, -statement.by
        case Equality():
            yield {statement.of: 1.0, statement.to: -1.0}, statement.within
            yield {statement.to: 1.0, statement.of: -1.0}, statement.within
        case Slope():
            centred = np.array(statement.against) - np.mean(statement.against)
            weights = centred * np.ptp(centred) / (centred @ centred)
            yield dict(zip(statement.of, (-weights).tolist(), strict=True)), -statement.at_least * float(np.ptp(centred))
