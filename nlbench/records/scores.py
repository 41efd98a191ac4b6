"""The metrics of a record: what its file says of them, held to what its accuracies give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from nlbench.errors import RecordError, UnknownNameError
from nlbench.metrics import METRICS, OF_THE_PAST, NotMeasuredError, Value, measure
from nlbench.records.columns import NONE, Columns, derive, null_metrics
from nlbench.records.footer import Footer

AGREEMENT: Final = 1e-9  # largest allowed difference between a stored metric and its recomputation


@dataclass(frozen=True, eq=False)
class Scores:
    """The whole-stream values of one record, by metric and seed. A stored value counts where its metric is defined today as it
    was then; what the file does not say is computed.
    """

    place: str  # for messages
    footer: Footer
    first: Columns  # row group 0
    accuracies: np.ma.MaskedArray  # (S, T+1, T)
    rows: Callable[[], Columns]  # all of them, which are read only where a metric needs them

    def of(self, name: str) -> dict[int, float | None]:
        """Return the whole-stream value of a metric for each seed, null where it was not measured.

        Raises `UnknownNameError` for what is neither a metric nor in the record.
        """
        whole = self._whole
        if name not in METRICS and name not in whole and not name.startswith(("bytes.", "chance")):
            whole = _of_the_stream(self.rows())  # a learner's own numbers lie among the rows of its tasks
            if name not in whole:
                raise UnknownNameError("metric", name, {*METRICS, *whole})
        found: dict[int, float | None] = dict(whole.get(name, {}))
        if name in METRICS and METRICS[name].needs != "references":
            if not self._is_stored(name):
                found = self._computed(name)
            elif METRICS[name].needs == "accuracy" and len(found) < len(self.footer.seeds):  # a stored null is looked at again
                found = {**self._of_matrix[name], **found}
        return {seed: found.get(seed) for seed in self.footer.seeds}

    @cached_property
    def versions(self) -> dict[str, int]:
        """The version of each metric that the file knows."""
        said = self.footer.metric_versions
        if isinstance(said, int):
            return {name: said for name in METRICS if name in self._whole or name in self.footer.null_metrics}
        return said

    def reason(self, name: str) -> str:
        """Return why a metric is null for the first seed where it is; empty if it has a value for each."""
        if name not in METRICS or METRICS[name].needs == "references" or None not in self.of(name).values():
            return ""
        nulls = self.footer.null_metrics if self._is_stored(name) else null_metrics(self._derived)
        return nulls.get(name, "")

    def verify_matrix(self) -> None:
        """Compare the stored metrics of the matrix with their recomputation; raise RecordError where they disagree."""
        for name, values in self._of_matrix.items():
            self._agree(name, values)

    def verify(self) -> None:
        """Compare every stored metric with its recomputation; raise RecordError where they disagree."""
        for name, metric in METRICS.items():
            if metric.needs != "references" and self._is_stored(name):
                self._agree(name, {seed: values[name].value for seed, values in self._derived.items()})

    def _agree(self, name: str, expected: Mapping[int, float | None]) -> None:
        """Refuse what is stored and differs, if it is of the same version; a null is no value that could."""
        if not self._is_stored(name):
            return
        for seed, found in self._whole.get(name, {}).items():
            value = expected[seed]
            if value is None or abs(found - value) > AGREEMENT:
                raise RecordError(f"{self.place}: {name} of seed {seed} is stored as {found}, its accuracies give {value}.")

    def _is_stored(self, name: str) -> bool:
        """Whether the file holds the metric as it is defined today."""
        return self.versions.get(name) == METRICS[name].version

    def _computed(self, name: str) -> dict[int, float | None]:
        if METRICS[name].needs == "accuracy":
            return self._of_matrix[name]
        return {seed: values[name].value for seed, values in self._derived.items()}

    @cached_property
    def _of_matrix(self) -> dict[str, dict[int, float | None]]:
        """Every metric of the matrix alone, by seed."""
        computed: dict[str, dict[int, float | None]] = {}
        for name, metric in METRICS.items():
            if metric.needs == "accuracy":
                if self.footer.conflict and name in OF_THE_PAST:
                    computed[name] = dict.fromkeys(self.footer.seeds)
                    continue
                try:
                    computed[name] = dict(zip(self.footer.seeds, metric.function(self.accuracies).tolist(), strict=True))
                except NotMeasuredError:
                    computed[name] = {
                        seed: measure(metric, (matrix,)).value
                        for seed, matrix in zip(self.footer.seeds, self.accuracies, strict=True)
                    }
        return computed

    @cached_property
    def _whole(self) -> dict[str, dict[int, float]]:
        """The whole-stream values of row group 0."""
        return _of_the_stream(self.first)

    @cached_property
    def _derived(self) -> dict[int, dict[str, Value]]:
        return derive(
            self.rows(), self.footer.seeds, self.footer.n_tasks, conflict=self.footer.conflict, shared=self.footer.shared
        )


def _of_the_stream(columns: Columns) -> dict[str, dict[int, float]]:
    """Return the values that are of no single task, by metric and seed; of several times, the last."""
    rows = np.flatnonzero((columns.on_task == NONE) & (columns.seed != NONE) & ~np.isnan(columns.value))
    rows = rows[np.argsort(columns.after_task[rows], kind="stable")]
    whole: dict[str, dict[int, float]] = {}
    for code, seed, value in zip(
        columns.metric[rows].tolist(), columns.seed[rows].tolist(), columns.value[rows].tolist(), strict=True
    ):
        whole.setdefault(columns.names[code], {})[seed] = value
    return whole
