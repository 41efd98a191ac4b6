"""Split streams: the classes of a data set dealt out to tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlbench import seeds as draws
from nlbench.errors import DataError, SpecError
from nlbench.sources import Arrays, class_means, read
from nlbench.streams.config import Split
from nlbench.streams.stream import Samples, Stream, black, shown

if TYPE_CHECKING:
    from nlbench.plan import DeclaredStream


class SplitStream(Stream):
    """Task i holds the next classes of the class order: as many in each, or as `sizes` says.

    Labels are positions in the class order (class-il, task-il) or within the task (domain-il).
    """

    def __init__(self, declared: DeclaredStream, seeds: Sequence[int], device: torch.device, data: Path | None = None) -> None:
        super().__init__(declared, seeds, device)
        config, source = self.spec.stream, declared.source
        assert isinstance(config, Split)
        assert source is not None
        self.input_shape = source.input_shape
        self._sizes = config.sizes or (source.n_classes // config.tasks,) * config.tasks
        self.n_classes = max(self._sizes) if self.scenario == "domain-il" else source.n_classes
        arrays = read(source, data)
        self.black = black(arrays, source, device)
        self.class_orders = self._class_orders(config, arrays)
        train_inputs, test_inputs, self._scaling = shown(arrays, source, device)
        # sorted by class, so that in natural order a task's test set is one block that needs no copy
        by_class = np.argsort(arrays.test_labels, kind="stable")
        test_inputs, test_labels = test_inputs[torch.from_numpy(by_class).to(device)], arrays.test_labels[by_class]
        self._train = self._tasks(train_inputs, arrays.train_labels, self.class_orders, config.train_quota)
        self._test = self._tasks(test_inputs, test_labels, self.class_orders, config.test_quota)

    def _class_orders(self, config: Split, arrays: Arrays) -> NDArray[np.int64]:
        """Return (1 or S, C): the order in which classes come."""
        assert self.declared.source is not None
        classes = self.declared.source.n_classes
        if config.class_order == "seed":
            return draws.permutation(self.seeds, "class-order", classes)
        if config.class_order == "extreme":
            return alike(class_means(self.declared.source, arrays))[None]
        return np.arange(classes)[None] if config.class_order == "natural" else np.array(config.class_order)[None]

    def _tasks(
        self, inputs: Tensor, labels: NDArray[np.int64], class_orders: NDArray[np.int64], quota: int | None
    ) -> list[Samples]:
        by_class = [np.flatnonzero(labels == label)[:quota] for label in range(class_orders.shape[1])]
        short = [label for label, rows in enumerate(by_class) if quota is not None and len(rows) < quota]
        if short:
            most = min(len(rows) for rows in by_class)
            raise SpecError([f"{self.declared.name}: stream quota: must be at most {most} samples per class, got {quota}"])
        tasks: list[Samples] = []
        for first, last in pairwise([0, *accumulate(self._sizes)]):
            positions = range(first, last)
            rows = np.stack([np.concatenate([by_class[order[p]] for p in positions]) for order in class_orders])
            if not rows.size:
                hint = "Deal their classes out with others (sizes), leave them out, or give each at least three samples."
                raise DataError(
                    f"{self.declared.name}: task {len(tasks) + 1} has no samples to be learned, or none to be judged.", hint
                )
            offset = first if self.scenario == "domain-il" else 0
            kinds = np.stack(
                [np.concatenate([np.full(len(by_class[order[p]]), p - offset) for p in positions]) for order in class_orders]
            )
            block = len(rows) == 1 and bool((np.diff(rows[0]) == 1).all())
            places, names = (torch.from_numpy(each).to(self.device) for each in (rows, kinds))
            samples = Samples(inputs, places, names, scaling=self._scaling)
            tasks.append(replace(samples, start=int(rows[0, 0])) if block else samples)
        return tasks

    def train(self, task: int) -> Samples:
        return self._train[task - 1]

    def test(self, task: int) -> Samples:
        return self._test[task - 1]

    def task_classes(self, task: int) -> Tensor:
        positions = torch.arange(self.n_classes, device=self.device)
        first = 0 if self.scenario == "domain-il" else sum(self._sizes[: task - 1])
        return (first <= positions) & (positions < first + self._sizes[task - 1])


def alike(means: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (C,): the classes of means (C, d) so that alike ones follow each other: from class 0 on, the next is the one left
    whose mean is nearest (Euclidean).
    """
    order, left = [0], set(range(1, len(means)))
    while left:
        order.append(min(sorted(left), key=lambda label: float(np.linalg.norm(means[label] - means[order[-1]]))))
        left.remove(order[-1])
    return np.array(order)
