"""Whether a second execution of a run gave the numbers that its record says: equal, equal but for rounding, or different.

Another number of threads, backend, machine or set of seeds rounds products otherwise, which may turn the answer to a test sample
that lay on the edge. That moves a share by single samples; it moves no metric by much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from nlbench.metrics import METRICS
from nlbench.records import Record, Row
from nlbench.records.schema import CONFUSION

Sameness = Literal["equal", "within rounding", "different"]

SAMPLES: Final = 2
SHARE: Final = 0.005
"""A share may differ by so many of its samples, or by this part of them where that is more; a metric by this part of 1."""

RELATIVE: Final = 0.01
"""By which bytes may differ, as what seeds share is billed to each in part, and what a learner reports of itself."""

_SHARES: Final = frozenset({"accuracy", "accuracy_within", "prequential_accuracy", "task_aware_accuracy"})
_FACTS: Final = ("scenario", "n_tasks", "role", "conflict")


@dataclass(frozen=True, slots=True)
class Deviation:
    """In how many values of a metric a seed differs, of how many, by how much at most, and whether rounding explains it."""

    seed: int
    metric: str
    differing: int
    of: int
    largest: float
    rounding: bool


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What the comparison of two executions found. `facts`: what the records say otherwise of what was run."""

    seeds: tuple[int, ...]
    values: int
    deviations: tuple[Deviation, ...]
    facts: tuple[str, ...]

    @property
    def sameness(self) -> Sameness:
        """The worst of all deviations."""
        if self.facts or not all(one.rounding for one in self.deviations):
            return "different"
        return "within rounding" if self.deviations else "equal"


def reproduction(record: Record, again: Record, seeds: Sequence[int]) -> Reproduction:
    """Return how the numbers of some seeds of a record compare with those of another execution of the same run.

    All rows of a seed count but times, which belong to the machine; a row that only one of them has differs without bound.
    Raises RecordError where one of them lacks a seed.
    """
    deviations: list[Deviation] = []
    values = 0
    for seed in seeds:
        first, second = _values(record, seed), _values(again, seed)
        values += sum(map(len, first.values()))
        for metric in sorted(first.keys() | second.keys()):
            found = _deviation(seed, metric, first.get(metric, {}), second.get(metric, {}))
            deviations += [found] if found.differing else []
    facts = [name for name in _FACTS if getattr(record.footer, name) != getattr(again.footer, name)]
    said = [f"{name}: {getattr(record.footer, name)} / {getattr(again.footer, name)}" for name in facts]
    return Reproduction(tuple(seeds), values, tuple(deviations), tuple(said))


Place = tuple[int | None, int | None, int | None]
Measured = tuple[float | None, int | None]
Values = dict[Place, Measured]


def _values(record: Record, seed: int) -> dict[str, Values]:
    """Return the values of a seed by metric and place, and what each averages over."""
    found: dict[str, Values] = {}
    for row in _rows(record, seed):
        if not row.metric.startswith("seconds."):
            found.setdefault(row.metric, {})[row.after_task, row.on_task, row.samples_seen] = row.value, row.n
    for name in METRICS:
        if METRICS[name].needs != "references" and name not in found:
            found[name] = {(record.n_tasks, None, None): (record.metric(name)[seed], None)}
    return found


def _rows(record: Record, seed: int) -> Iterator[Row]:
    record.accuracy(seed)  # refuses a seed that it lacks
    names = list(Row._fields)
    for row in record.table.select(names).to_pylist():
        if row["seed"] == seed:
            yield Row(**row)


def _deviation(seed: int, metric: str, first: Values, second: Values) -> Deviation:
    places = first.keys() | second.keys()
    apart = [_apart(metric, first.get(place), second.get(place)) for place in places]
    differing = [(size, allowed) for size, allowed in apart if size > 0]
    largest = max((size for size, _ in differing), default=0.0)
    return Deviation(seed, metric, len(differing), len(places), largest, all(size <= allowed for size, allowed in differing))


def _apart(metric: str, first: Measured | None, second: Measured | None) -> tuple[float, float]:
    """Return by how much two values differ, and by how much rounding may make them."""
    if first is None or second is None or (first[0] is None) != (second[0] is None) or first[1] != second[1]:
        return np.inf, 0.0
    if first[0] is None or second[0] is None:
        return 0.0, 0.0
    size = abs(first[0] - second[0])
    if metric in _SHARES and first[1]:
        return size, max(SAMPLES / first[1], SHARE) + 1e-9
    if metric.startswith(CONFUSION):
        return size, max(SAMPLES, SHARE * max(first[0], second[0]))
    if metric == "chance":
        return size, 0.0
    if metric in METRICS:
        return (0.0 if size <= 1e-9 else size), SHARE
    return size, RELATIVE * max(abs(first[0]), abs(second[0]))
