"""A record in memory: its footer, matrices and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from nlbench.errors import RecordError
from nlbench.metrics import Within
from nlbench.records import arrays, terms
from nlbench.records.columns import NONE, Columns, accuracies, within
from nlbench.records.content import Content
from nlbench.records.footer import Execution, Footer
from nlbench.records.schema import CONFUSION, Row
from nlbench.records.scores import Scores

if TYPE_CHECKING:
    import pandas as pd

MOST_CLASSES: Final = 2000  # of a confusion matrix, which is read as a whole


@dataclass(frozen=True, eq=False)
class Record:
    """One learner on one stream over a set of seeds, read from one file or merged from files that differ in seeds only."""

    contents: tuple[Content, ...]
    footer: Footer
    first: Columns  # row group 0

    def __repr__(self) -> str:
        seeds = f"{len(self.seeds)} seed{'s' if len(self.seeds) > 1 else ''}"
        return f"<nlbench record: {self.model} on {self.stream}, {seeds}: {self.path}>"

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(content.path for content in self.contents)

    @property
    def sealed(self) -> bool:
        """Whether each file has a checksum; those of schema 1 and 2 have none."""
        return all(content.sealed for content in self.contents)

    @property
    def path(self) -> Path:
        """The file, or the first of them."""
        return self.paths[0]

    @property
    def run(self) -> str:
        """The newest execution."""
        return self.footer.run

    @property
    def runs(self) -> tuple[Execution, ...]:
        """Each execution: its name, seeds, backend, device, versions and whatever else is its own."""
        return tuple(self.footer.runs)

    @property
    def model(self) -> str:
        """The learner's name: that of its recipe."""
        return self.footer.model

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self.footer.stream

    @cached_property
    def stream_digest(self) -> str:
        """Digest of what the stream is; of an older record, as it would be today."""
        return terms.digest_of_stream(self.footer)

    @cached_property
    def terms(self) -> dict[str, Any]:
        """How the learner was presented its samples: passes, batch, boundaries told; what is not known is left out."""
        return terms.terms(self.footer)

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """Which tasks were measured, and how often within tasks."""
        return terms.evaluation(self.footer)

    @property
    def scenario(self) -> str:
        """`task-il`, `domain-il` or `class-il`."""
        return self.footer.scenario

    @property
    def class_order(self) -> str:
        """In which order classes were dealt out, in words; empty where none were, or as the data set numbers them."""
        seed, order = next((item for run in self.runs for item in run.class_orders.items()), ("", []))
        whose = f" of seed {seed}" if seed != "all" else ""
        return f"class order{whose}: {', '.join(map(str, order))}" if order else ""

    @property
    def fingerprint(self) -> str:
        """What decides the numbers, hashed."""
        return self.footer.fingerprint

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, ascending."""
        return tuple(self.footer.seeds)

    @property
    def n_tasks(self) -> int:
        """T."""
        return self.footer.n_tasks

    @cached_property
    def accuracies(self) -> np.ma.MaskedArray:
        """The accuracy matrices of all seeds, (S, T+1, T), masked where not measured."""
        return accuracies(self.first, self.seeds, self.n_tasks)

    def accuracy(self, seed: int) -> np.ma.MaskedArray:
        """Return the accuracy matrix of a seed, (T+1, T), masked where not measured."""
        return self.accuracies[self._index(seed)]

    @cached_property
    def chance(self) -> np.ma.MaskedArray:
        """The share of each task's best constant label, (S, T), masked where it was not recorded."""
        rows = self.first.where("chance")
        rows = rows[self.first.on_task[rows] != NONE]
        shares = np.full((len(self.seeds), self.n_tasks), np.nan)
        shares[np.searchsorted(self.seeds, self.first.seed[rows]), self.first.on_task[rows] - 1] = self.first.value[rows]
        return np.ma.masked_invalid(shares)

    def chance_of(self, name: str) -> dict[int, float | None]:
        """Return what the best constant answers reach of a metric, by seed; null where that is not recorded or means nothing.

        Of average accuracy, one label for the whole stream (a label a task where the task is told); of learning accuracy, each
        task's commonest label.
        """
        if name == "average_accuracy":
            return self.metric("chance")
        if name != "learning_accuracy":
            return dict.fromkeys(self.seeds)
        means = self.chance.filled(np.nan).mean(axis=1)
        return {seed: None if np.isnan(mean) else mean for seed, mean in zip(self.seeds, means.tolist(), strict=True)}

    def metric(self, name: str) -> dict[int, float | None]:
        """Return the whole-stream value of a metric for each seed, null where it was not measured.

        Also takes `bytes.<kind>` and a learner's own numbers; there the value after the last task counts. `chance` is that of
        average accuracy. Raises `UnknownNameError` for what is neither a metric nor in the record.
        """
        return self._scores.of(name)

    def measured(self, name: str) -> dict[int, float]:
        """Return the whole-stream value of a metric for each seed that has one."""
        return {seed: value for seed, value in self.metric(name).items() if value is not None}

    @property
    def metric_versions(self) -> dict[str, int]:
        """The version of each metric that the file knows."""
        return self._scores.versions

    def reason(self, name: str) -> str:
        """Return why a metric is null for the first seed where it is; empty if it has a value for each."""
        return self._scores.reason(name)

    def bytes(self) -> dict[str, float]:
        """Return the bytes of each kind after the last task, per seed, the mean over seeds."""
        kinds = [name for name in self.first.names if name.startswith("bytes.")]
        values = {name.removeprefix("bytes."): self.measured(name) for name in kinds}
        return {kind: float(np.mean(list(found.values()))) for kind, found in values.items() if found}

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase, all executions and tasks summed; phases do not overlap."""
        phases = [name for name in self.first.names if name.startswith("seconds.")]
        return {name.removeprefix("seconds."): float(np.nansum(self.first.value[self.first.where(name)])) for name in phases}

    def values(self, metric: str) -> list[Row]:
        """Return every row of a metric, those outside row group 0 included, in file order."""
        rows = self.table.filter(arrays.mask(self._all.of_metrics([metric]))).select(list(Row._fields))
        return [Row(*row.values()) for row in rows.to_pylist()]

    def confusion(self, after_task: int | None = None) -> np.ndarray:
        """Return (S, C, C): how many test samples of a label (row) got an answer (column), after a task, or after the last; its
        diagonal over its rows' sums is the accuracy of each class. Raises RecordError where it was not recorded.
        """
        after = self.n_tasks if after_task is None else after_task
        names = [name.split(".") for name in self._all.names if name.startswith(CONFUSION)]
        if not names:
            way = 'Ask for it: --set protocol.confusion=true, or overrides={"protocol.confusion": "true"}.'
            raise RecordError(f"{self.path}: holds no confusion matrix.", way)
        labels = [int(part) for _, *parts in names for part in parts if part.isdecimal() and len(part) < 9]
        size = 1 + max(labels, default=MOST_CLASSES)
        if size > MOST_CLASSES or len(labels) != 2 * len(names):
            raise RecordError(f"{self.path}: its confusion matrix names what is no label below {MOST_CLASSES}.")
        found = np.zeros((len(self.seeds), size, size), dtype=np.int64)
        for _, label, answer in names:
            rows = self._all.where(f"{CONFUSION}{label}.{answer}")
            for row in rows[self._all.after_task[rows] == after]:
                found[self._index(int(self._all.seed[row])), int(label), int(answer)] = self._all.value[row]
        return found

    def within(self, seed: int) -> Within | None:
        """Return the evaluations within tasks of a seed, or None if there are none."""
        return within(self._all, seed)

    @cached_property
    def table(self) -> pa.Table:
        """Every row, as an Arrow table with the columns of the schema: of the files as they were when they were opened."""
        return pa.concat_tables([content.table(self.footer) for content in self.contents])

    def to_pandas(self) -> pd.DataFrame:
        """Return every row as a DataFrame, nullable integers kept as such."""
        import pandas as pd

        nullable = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}
        return self.table.to_pandas(types_mapper=nullable.get)

    def verify(self) -> None:
        """Compare the stored metrics of the matrix with their recomputation; raise RecordError where they disagree."""
        self._scores.verify_matrix()

    def verify_all(self) -> None:
        """Check all rows, and compare every stored metric with its recomputation; raise RecordError where they disagree."""
        self._all.check(self.seeds, self.n_tasks, str(self.path))
        self._all.check_keys(str(self.path))
        self._scores.verify()

    @cached_property
    def _scores(self) -> Scores:
        return Scores(str(self.path), self.footer, self.first, self.accuracies, lambda: self._all)

    @cached_property
    def _all(self) -> Columns:
        return Columns.of(self.table, str(self.path))

    def _index(self, seed: int) -> int:
        if seed not in self.seeds:
            raise RecordError(f"{self.path} has no seed {seed}.", f"It has {', '.join(map(str, self.seeds))}.")
        return self.seeds.index(seed)
