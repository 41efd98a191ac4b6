"""A record in memory: typed access to its metadata, matrices and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nlbench.errors import RecordError
from nlbench.metrics import METRICS, METRICS_VERSION, NotMeasuredError, Value, Within, compute, measure
from nlbench.records.schema import SCHEMA, Row, check_finite

if TYPE_CHECKING:
    import pandas as pd

AGREEMENT: Final = 1e-9  # largest allowed difference between a stored metric and its recomputation
_NONE: Final = -1  # stands for null in the integer columns, all of which are non-negative


@dataclass(frozen=True, eq=False)
class Columns:
    """The rows of a record as numpy columns; -1 stands for a null integer, NaN for a null value (NaN is refused before)."""

    SOURCE: ClassVar[tuple[str, ...]] = ("seed", "after_task", "on_task", "samples_seen", "metric", "value", "n")

    metric: np.ndarray  # codes into `names`
    names: tuple[str, ...]
    seed: np.ndarray
    after_task: np.ndarray
    on_task: np.ndarray
    samples_seen: np.ndarray
    value: np.ndarray
    n: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> Columns:
        """Return the columns of a table that has at least the columns of SOURCE."""
        metric = table["metric"]
        if not pa.types.is_dictionary(metric.type):
            metric = metric.dictionary_encode()
        codes = metric.unify_dictionaries().combine_chunks()
        if isinstance(codes, pa.ChunkedArray):
            codes = codes.chunk(0) if codes.num_chunks else pa.array([], metric.type)
        integers = {name: _integers(table[name]) for name in ("seed", "after_task", "on_task", "samples_seen", "n")}
        value = table["value"].to_numpy()
        return cls(metric=codes.indices.to_numpy(), names=tuple(codes.dictionary.to_pylist()), value=value, **integers)

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """Return the rows of all parts."""
        names = tuple(dict.fromkeys(name for part in parts for name in part.names))
        code = {name: index for index, name in enumerate(names)}
        metric = [np.array([code[name] for name in part.names], dtype=np.int64)[part.metric] for part in parts]
        others = ("seed", "after_task", "on_task", "samples_seen", "value", "n")
        return cls(
            metric=np.concatenate(metric), names=names, **{o: np.concatenate([getattr(p, o) for p in parts]) for o in others}
        )

    def check(self, seeds: Sequence[int], n_tasks: int, place: str) -> None:
        """Refuse, naming `place`, rows of seeds or tasks that the record lacks, and accuracies without a place in the matrix."""
        whole = (
            np.isin(self.seed, [*seeds, _NONE]).all() and (self.after_task <= n_tasks).all() and (self.on_task <= n_tasks).all()
        )
        matrix, chance = self.where("accuracy"), self.where("chance")
        placed = (self.after_task[matrix] >= 0).all() and (self.on_task[matrix] >= 1).all() and (self.seed[matrix] >= 0).all()
        if not (whole and placed and (self.on_task[chance] >= 1).all() and (self.seed[chance] >= 0).all()):
            raise RecordError(f"{place}: a row names a seed or a task that the record does not have.")

    def where(self, metric: str) -> np.ndarray:
        """Return the indices of the rows of a metric."""
        if metric not in self.names:
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero(self.metric == self.names.index(metric))


def _integers(column: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(column, _NONE).to_numpy()


@dataclass(frozen=True, eq=False)
class Record:
    """One learner on one stream over a set of seeds, read from one file or merged from files that differ in seeds only.

    `metadata` is the footer; what belongs to one execution stands there for the newest, and for each in `runs`.
    """

    paths: tuple[Path, ...]
    metadata: Mapping[str, Any]
    first: Columns  # row group 0

    @property
    def path(self) -> Path:
        """The file, or the first of them."""
        return self.paths[0]

    @property
    def run(self) -> str:
        """The newest execution."""
        return self.metadata["run"]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Each execution: its name, seeds, backend, device, versions and whatever else is its own."""
        return list(self.metadata["runs"])

    @property
    def model(self) -> str:
        """The learner's name: that of its recipe."""
        return self.metadata["model"]

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self.metadata["stream"]

    @property
    def stream_digest(self) -> str:
        """Digest of the resolved stream."""
        return self.metadata["stream_digest"]

    @property
    def scenario(self) -> str:
        """`task-il`, `domain-il` or `class-il`."""
        return self.metadata["scenario"]

    @property
    def fingerprint(self) -> str:
        """What decides the numbers, hashed."""
        return self.metadata["fingerprint"]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, ascending."""
        return tuple(self.metadata["seeds"])

    @property
    def n_tasks(self) -> int:
        """T."""
        return self.metadata["n_tasks"]

    @cached_property
    def accuracies(self) -> np.ma.MaskedArray:
        """The accuracy matrices of all seeds, (S, T+1, T), masked where not measured."""
        return accuracies(self.first, self.seeds, self.n_tasks)

    def accuracy(self, seed: int) -> np.ma.MaskedArray:
        """Return the accuracy matrix of a seed, (T+1, T), masked where not measured."""
        return self.accuracies[self._index(seed)]

    @cached_property
    def chance(self) -> np.ma.MaskedArray:
        """The share of the best constant label, (S, T), masked where it was not recorded."""
        rows = self.first.where("chance")
        shares = np.full((len(self.seeds), self.n_tasks), np.nan)
        shares[np.searchsorted(self.seeds, self.first.seed[rows]), self.first.on_task[rows] - 1] = self.first.value[rows]
        return np.ma.masked_invalid(shares)

    def metric(self, name: str) -> dict[int, float | None]:
        """Return the whole-stream value of a metric for each seed, null where it was not measured.

        Also takes `bytes.<kind>`; there the value after the last task counts.
        """
        if name in METRICS and not self._metrics_are_stored:
            if METRICS[name].needs == "accuracy":
                return {seed: measure(METRICS[name], (self.accuracy(seed),)).value for seed in self.seeds}
            return {seed: values[name].value for seed, values in self._derived.items()}
        found = self._whole.get(name, {})
        return {seed: found.get(seed) for seed in self.seeds}

    def reason(self, name: str) -> str:
        """Return why a metric is null for the first seed where it is; empty if it has a value for each."""
        nulls = self.metadata["null_metrics"] if self._metrics_are_stored else null_metrics(self._derived)
        return nulls.get(name, "")

    def bytes(self) -> dict[str, float]:
        """Return the bytes of each kind after the last task, per seed, the mean over seeds."""
        kinds = [name for name in self.first.names if name.startswith("bytes.")]
        values = {name.removeprefix("bytes."): [v for v in self.metric(name).values() if v is not None] for name in kinds}
        return {kind: float(np.mean(found)) for kind, found in values.items() if found}

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase, all executions and tasks summed; phases do not overlap."""
        phases = [name for name in self.first.names if name.startswith("seconds.")]
        return {name.removeprefix("seconds."): float(np.nansum(self.first.value[self.first.where(name)])) for name in phases}

    def values(self, metric: str) -> list[Row]:
        """Return every row of a metric, those outside row group 0 included, in file order."""
        rows = self.table.filter(pc.equal(self.table["metric"], metric)).select(list(Row._fields))
        return [Row(*row.values()) for row in rows.to_pylist()]

    def within(self, seed: int) -> Within | None:
        """Return the evaluations within tasks of a seed, or None if there are none."""
        return within(self._all, seed)

    @cached_property
    def table(self) -> pa.Table:
        """Every row, as an Arrow table with the columns of the schema. Reads the files on first use."""
        try:
            table = pa.concat_tables([pq.ParquetFile(path).read(columns=SCHEMA.names).cast(SCHEMA) for path in self.paths])
        except (pa.ArrowInvalid, OSError) as error:
            raise RecordError(f"{self.path} is damaged: {str(error).splitlines()[0]}") from error
        check_finite(table, str(self.path))
        return table

    def to_pandas(self) -> pd.DataFrame:
        """Return every row as a DataFrame, nullable integers kept as such."""
        import pandas as pd

        nullable = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}
        return self.table.to_pandas(types_mapper=nullable.get)

    def verify(self) -> None:
        """Compare the stored metrics of the matrix with their recomputation; raise RecordError where they disagree."""
        if not self._metrics_are_stored:
            return
        for name, metric in METRICS.items():
            if metric.needs == "accuracy":
                try:
                    expected = dict(zip(self.seeds, metric.function(self.accuracies).tolist(), strict=True))
                except NotMeasuredError:
                    expected = {seed: measure(metric, (self.accuracy(seed),)).value for seed in self.seeds}
                self._agree(name, expected)

    def verify_all(self) -> None:
        """Compare every stored metric with its recomputation from all rows; raise RecordError where they disagree."""
        if self._metrics_are_stored:
            for name, metric in METRICS.items():
                if metric.needs != "references":
                    self._agree(name, {seed: values[name].value for seed, values in self._derived.items()})

    def _agree(self, name: str, expected: Mapping[int, float | None]) -> None:
        stored = self.metric(name)
        for seed, value in expected.items():
            found = stored[seed]
            if (found is None) != (value is None) or (found is not None and value is not None and abs(found - value) > AGREEMENT):
                raise RecordError(f"{self.path}: {name} of seed {seed} is stored as {found}, its accuracies give {value}.")

    @cached_property
    def _whole(self) -> dict[str, dict[int, float]]:
        """The whole-stream values of row group 0 by metric and seed; of several times, the last."""
        first = self.first
        rows = np.flatnonzero((first.on_task == _NONE) & (first.seed != _NONE) & ~np.isnan(first.value))
        rows = rows[np.argsort(first.after_task[rows], kind="stable")]
        whole: dict[str, dict[int, float]] = {}
        for code, seed, value in zip(
            first.metric[rows].tolist(), first.seed[rows].tolist(), first.value[rows].tolist(), strict=True
        ):
            whole.setdefault(first.names[code], {})[seed] = value
        return whole

    @property
    def _metrics_are_stored(self) -> bool:
        return self.metadata["metrics_version"] == METRICS_VERSION

    @cached_property
    def _all(self) -> Columns:
        return Columns.of(self.table)

    @cached_property
    def _derived(self) -> dict[int, dict[str, Value]]:
        return derive(self._all, self.seeds, self.n_tasks)

    def _index(self, seed: int) -> int:
        if seed not in self.seeds:
            raise RecordError(f"{self.path} has no seed {seed}.", f"It has {', '.join(map(str, self.seeds))}.")
        return self.seeds.index(seed)


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


def derive(columns: Columns, seeds: Sequence[int], n_tasks: int) -> dict[int, dict[str, Value]]:
    """Return every metric of every seed that needs no other record."""
    matrices = accuracies(columns, seeds, n_tasks)
    rows = columns.where("prequential_accuracy")
    rows = rows[(columns.on_task[rows] != _NONE) & ~np.isnan(columns.value[rows])]
    derived = {}
    for index, seed in enumerate(seeds):
        of_seed = rows[columns.seed[rows] == seed]
        prequential = (columns.value[of_seed], columns.n[of_seed]) if of_seed.size else None
        derived[seed] = compute(matrices[index], within(columns, seed), prequential)
    return derived


def null_metrics(derived: Mapping[int, Mapping[str, Value]]) -> dict[str, str]:
    """Return, for each metric that is null for some seed, the reason of the first such seed."""
    nulls: dict[str, str] = {}
    for values in derived.values():
        for name, value in values.items():
            if value.value is None:
                nulls.setdefault(name, value.reason)
    return nulls
