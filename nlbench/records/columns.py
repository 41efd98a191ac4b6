"""The rows of a record as numpy columns: what must hold between them, and what is derived from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import pyarrow as pa

from nlbench.errors import RecordError
from nlbench.metrics import Value, Within, compute
from nlbench.records import arrays

NONE: Final = -1  # stands for null in the integer columns, all of which are non-negative
_INTEGERS: Final = ("seed", "after_task", "on_task", "samples_seen", "n")
_SHARES: Final = ("accuracy", "accuracy_within", "chance", "prequential_accuracy")
_COUNTED: Final = ("accuracy", "accuracy_within")
"""What is a number of right samples out of `n`."""
_BATCHES: Final = "prequential_accuracy"
"""Of a task a number of right samples too; of the whole stream it is derived."""
_PLACED: Final = {
    "accuracy": ("seed", "after_task", "on_task"),
    "accuracy_within": ("seed", "after_task", "on_task", "samples_seen"),
    "chance": ("seed",),
}
"""What the rows of a metric must have."""
_ROUNDING: Final = 1e-9
_KEY: Final = ("run", "seed", "metric", "after_task", "on_task", "samples_seen")


@dataclass(frozen=True, eq=False)
class Columns:
    """The rows of a record as numpy columns; -1 stands for a null integer, NaN for a null value (NaN is refused before)."""

    SOURCE: ClassVar[tuple[str, ...]] = ("metric", *_INTEGERS, "value")

    run: np.ndarray  # codes; all 0 where the column was not read
    metric: np.ndarray  # codes into `names`
    names: tuple[str, ...]
    seed: np.ndarray
    after_task: np.ndarray
    on_task: np.ndarray
    samples_seen: np.ndarray
    n: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, place: str = "rows") -> Columns:
        """Return the columns of a table that has at least those of SOURCE. Refuse, naming `place`, an integer below 0."""
        metric, names = arrays.codes(table["metric"])
        run = arrays.codes(table["run"])[0] if "run" in table.column_names else np.zeros_like(metric)
        integers = {}
        for name in _INTEGERS:
            integers[name] = arrays.numbers(table[name], NONE)
            if np.count_nonzero(integers[name] < 0) != table[name].null_count:
                raise RecordError(f"{place}: {name} is negative.")
        return cls(run=run, metric=metric, names=names, value=arrays.numbers(table["value"], np.nan), **integers)

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """Return the rows of all parts, each of which is an execution of its own."""
        names = tuple(dict.fromkeys(name for part in parts for name in part.names))
        code = {name: index for index, name in enumerate(names)}
        metric = [np.array([code[name] for name in part.names], dtype=np.int64)[part.metric] for part in parts]
        run = [np.full_like(part.run, index) for index, part in enumerate(parts)]
        others = {name: np.concatenate([getattr(part, name) for part in parts]) for name in (*_INTEGERS, "value")}
        return cls(run=np.concatenate(run), metric=np.concatenate(metric), names=names, **others)

    def where(self, metric: str) -> np.ndarray:
        """Return the indices of the rows of a metric."""
        if metric not in self.names:
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero(self.metric == self.names.index(metric))

    def of_metrics(self, metrics: Sequence[str]) -> np.ndarray:
        """Return (N,) whether a row is of one of the metrics."""
        return np.array([name in metrics for name in self.names], dtype=bool)[self.metric]

    def check(self, seeds: Sequence[int], n_tasks: int, place: str) -> None:
        """Refuse, naming `place`, a row of a seed or task that the record lacks or that its metric needs and the row lacks, and a
        value that its metric cannot have.
        """
        for name, least, most in (("after_task", 0, n_tasks), ("on_task", 1, n_tasks)):
            column = getattr(self, name)
            if ((column != NONE) & ((column < least) | (column > most))).any():
                raise RecordError(f"{place}: {name} lies outside {least}..{most}.")
        placed = {*seeds, NONE}.issuperset(np.unique(self.seed).tolist())
        placed = placed and self.of_metrics(self._starting("seconds."))[self.seed == NONE].all()
        for metric, needed in _PLACED.items():
            rows = self.where(metric)
            placed = placed and all((getattr(self, name)[rows] != NONE).all() for name in needed)
        if not placed:
            raise RecordError(f"{place}: a row names a seed or a task that the record does not have.")
        self._check_values(place)

    def _check_values(self, place: str) -> None:
        shares = self.of_metrics(_SHARES)
        value, n = self.value[shares], self.n[shares]
        if ((value < 0) | (value > 1)).any():
            raise RecordError(f"{place}: an accuracy lies outside [0, 1].")
        counted = self.of_metrics(_COUNTED) | (self.of_metrics((_BATCHES,)) & (self.on_task != NONE))
        if (n == 0).any() or (self.n[counted] == NONE).any():
            raise RecordError(f"{place}: an accuracy is of no samples.")
        counted = (n != NONE) & ~np.isnan(value)
        value, n = value[counted], n[counted]
        if (np.abs(value - np.rint(value * n) / n) > _ROUNDING).any():
            raise RecordError(f"{place}: an accuracy is no number of right samples out of its n.")
        if (self.value[self.where("chance")] == 0).any():
            raise RecordError(f"{place}: chance is 0; the best constant label is right for some sample.")
        for prefix in ("bytes.", "seconds."):
            if (self.value[self.of_metrics(self._starting(prefix))] < 0).any():
                raise RecordError(f"{place}: {prefix}* is negative.")

    def _starting(self, prefix: str) -> list[str]:
        return [name for name in self.names if name.startswith(prefix)]

    def check_keys(self, place: str, *, of_seeds: bool = False) -> None:
        """Refuse, naming `place`, two values for one (run, seed, metric, after_task, on_task, samples_seen); `of_seeds` looks
        only at rows of a seed, which is of one run, where that column was not read.
        """
        keys = np.stack([getattr(self, name) for name in _KEY])
        keys = keys[:, self.seed != NONE] if of_seeds else keys
        keys = keys[:, np.lexsort(keys)]
        again = np.flatnonzero((keys[:, 1:] == keys[:, :-1]).all(0))
        if again.size:
            where = dict(zip(_KEY, keys[:, again[0]].tolist(), strict=True))
            metric = self.names[where.pop("metric")]
            named = ", ".join(f"{name} {value}" for name, value in where.items() if value != NONE and name != "run")
            raise RecordError(f"{place}: two values for {metric} ({named}).")


def accuracies(columns: Columns, seeds: Sequence[int], n_tasks: int) -> np.ma.MaskedArray:
    """Return the accuracy matrices (S, T+1, T) of ascending seeds, masked where not measured."""
    rows = columns.where("accuracy")
    matrix = np.full((len(seeds), n_tasks + 1, n_tasks), np.nan)
    matrix[np.searchsorted(seeds, columns.seed[rows]), columns.after_task[rows], columns.on_task[rows] - 1] = columns.value[rows]
    return np.ma.masked_invalid(matrix)


def within(columns: Columns, seed: int) -> Within | None:
    """Return the evaluations within tasks of a seed, unmeasured ones left out, or None if there are none."""
    rows = columns.where("accuracy_within")
    rows = rows[(columns.seed[rows] == seed) & ~np.isnan(columns.value[rows])]
    if not rows.size:
        return None
    return Within(columns.after_task[rows], columns.on_task[rows], columns.samples_seen[rows], columns.value[rows])


def derive(
    columns: Columns, seeds: Sequence[int], n_tasks: int, *, conflict: bool = False, shared: bool = False
) -> dict[int, dict[str, Value]]:
    """Return every metric of every seed that needs no other record; conflict: whether tasks contradict each other; shared:
    whether they ask for the same labels.
    """
    matrices = accuracies(columns, seeds, n_tasks)
    rows = columns.where("prequential_accuracy")
    rows = rows[(columns.on_task[rows] != NONE) & ~np.isnan(columns.value[rows])]
    derived = {}
    for index, seed in enumerate(seeds):
        of_seed = rows[columns.seed[rows] == seed]
        prequential = (columns.value[of_seed], columns.n[of_seed]) if of_seed.size else None
        derived[seed] = compute(matrices[index], within(columns, seed), prequential, conflict=conflict, shared=shared)
    return derived


def null_metrics(derived: Mapping[int, Mapping[str, Value]]) -> dict[str, str]:
    """Return, for each metric that is null for some seed, the reason of the first such seed."""
    nulls: dict[str, str] = {}
    for values in derived.values():
        for name, value in values.items():
            if value.value is None:
                nulls.setdefault(name, value.reason)
    return nulls
