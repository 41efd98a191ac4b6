"""Class orders of a split stream: the usual one, the two extremes, and some that are drawn.

Which classes meet in a task decides how hard a stream is, and a handful of drawn orders says little of how far apart results can
lie (EDGE, arXiv 2509.22580). So the extremes are searched, by how alike classes are:

    a_cd = cos(μ_c - μ, μ_d - μ)      μ_c the mean training sample of class c, μ that of these means
    between = the mean of a_cd over pairs of classes from different tasks

`apart` has alike classes in different tasks, between as large as swaps of two classes make it; `together` in the same, as small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlbench import seeds as draws
from nlbench.comparison import statistics
from nlbench.comparison.statistics import Interval
from nlbench.errors import NlbenchError
from nlbench.metrics import METRICS
from nlbench.plan import Plan
from nlbench.records import Record, read_record
from nlbench.sources import class_means, read

STARTS: Final = 16
"""Drawn orders that a search starts from; the best of what they lead to is kept."""
KEY: Final = "stream.class_order"


class Order(NamedTuple):
    """An order of classes. `between`: how alike classes of different tasks are, from -1 to 1."""

    name: str
    classes: tuple[int, ...]
    sizes: tuple[int, ...]
    between: float

    @property
    def text(self) -> str:
        """What a stream says to have it."""
        return self.name if self.name == "natural" else str(list(self.classes))

    @property
    def tasks(self) -> str:
        """Its tasks in words, such as 0 1 | 2 3."""
        ends = pairwise([0, *accumulate(self.sizes)])
        return " | ".join(" ".join(map(str, self.classes[first:last])) for first, last in ends)


class Found(NamedTuple):
    """What a model came to under an order: the intervals of two metrics over its seeds, None where they were not measured."""

    order: Order
    model: str
    record: str
    average_accuracy: Interval | None
    forgetting: Interval | None


class Spread(NamedTuple):
    """How far apart the orders lie for a model: the worst and the best of all by average accuracy, and the mean and standard
    deviation of those that were drawn, None where fewer than two were.
    """

    model: str
    worst: Found
    best: Found
    drawn: tuple[float, float] | None


def orders_of(plan: Plan, drawn: int, data: Path | None = None) -> list[Order]:
    """Return the usual order of a plan's stream, `apart`, `together`, and so many that are drawn, always the same; each once.

    Raises `NlbenchError` where the stream does not deal out classes, or has fewer than two tasks.
    """
    stream, source = plan.stream.stream, plan.declared.source
    if stream.kind != "split" or source is None or stream.tasks < 2:
        raise NlbenchError(f"{plan.stream_name} deals no classes out to tasks.", "Name one of kind split, such as split-digits.")
    sizes = tuple(getattr(stream, "sizes", None) or (source.n_classes // stream.tasks,) * stream.tasks)
    alike = likeness(class_means(source, read(source, data)))
    found = {"natural": tuple(range(source.n_classes)), "apart": searched(alike, sizes, most=True)}
    found["together"] = searched(alike, sizes, most=False)
    seeds = range(drawn)
    for number, order in zip(seeds, draws.permutation(seeds, "orders", source.n_classes) if drawn else (), strict=True):
        found[f"drawn-{number + 1}"] = tuple(map(int, order))
    kept = {order: name for name, order in reversed(found.items())}
    return [Order(name, order, sizes, between(alike, order, sizes)) for name, order in found.items() if kept[order] == name]


def likeness(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (C, C) how alike the classes of means (C, d) are, with noughts on the diagonal."""
    means = means - means.mean(0)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    alike: NDArray[np.float64] = means @ means.T
    np.fill_diagonal(alike, 0.0)
    return alike


def between(alike: NDArray[np.float64], order: Sequence[int], sizes: Sequence[int]) -> float:
    """Return how alike two classes of different tasks are on average."""
    task = np.empty(len(order), dtype=np.int64)
    task[list(order)] = np.repeat(np.arange(len(sizes)), sizes)
    return float(alike[task[:, None] != task].mean())


def searched(alike: NDArray[np.float64], sizes: Sequence[int], *, most: bool) -> tuple[int, ...]:
    """Return the classes so that those of different tasks are as alike as swaps make them, or as unlike.

    From each start the best swap of two classes is made for as long as one helps. Cost: C² numbers a swap.
    """
    wanted, places = alike if most else -alike, np.repeat(np.arange(len(sizes)), sizes)
    found = []
    for start in range(STARTS):
        task = draws.generator(draws.FIXED, f"orders/start/{start}").permutation(places)
        while True:
            near = wanted @ np.eye(len(sizes))[task]  # (C, T): to all of a task's classes, itself left out
            own = near[np.arange(len(task)), task]
            within = near[:, task].T + near[:, task] - own[:, None] - own - 2 * wanted  # what a swap of two adds within tasks
            within[task[:, None] == task] = 0.0
            first, second = np.unravel_index(within.argmin(), within.shape)
            if within[first, second] > -statistics.ROUNDING:
                break
            task[[first, second]] = task[[second, first]]
        classes = tuple(int(label) for number in range(len(sizes)) for label in np.flatnonzero(task == number))
        found.append((between(wanted, classes, sizes), classes))
    return max(found)[1]


def found_of(plans: Mapping[Order, Plan], results: Path) -> list[Found]:
    """Return what the records of a model's plans say, those that are there."""
    found = []
    for order, plan in plans.items():
        path = plan.record_path(results)
        if path.exists():
            record = read_record(path)
            values = {metric: _interval(record, metric, plan) for metric in ("average_accuracy", "forgetting")}
            found.append(Found(order, record.model, path.name, **values))
    return found


def _interval(record: Record, metric: str, plan: Plan) -> Interval | None:
    known = [value for seed, value in record.metric(metric).items() if value is not None and seed in plan.seeds]
    return statistics.mean_interval(np.array(known), within=METRICS[metric].range) if known else None


def spread(found: Sequence[Found]) -> Spread | None:
    """Return how far apart the orders of one model lie; None where none was measured."""
    measured = [(one.average_accuracy.mean, one) for one in found if one.average_accuracy is not None]
    if not measured:
        return None
    drawn = [mean for mean, one in measured if one.order.name.startswith("drawn")]
    deviation = (float(np.mean(drawn)), float(np.std(drawn, ddof=1))) if len(drawn) > 1 else None
    worst, best = (choose(measured, key=lambda each: each[0])[1] for choose in (min, max))
    return Spread(found[0].model, worst, best, deviation)
