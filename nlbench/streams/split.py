"""Split streams: the classes of a data set dealt out to tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlbench import seeds as draws
from nlbench.errors import SpecError
from nlbench.sources import read
from nlbench.streams.config import Split
from nlbench.streams.stream import Samples, Stream, shown

if TYPE_CHECKING:
    from nlbench.plan import DeclaredStream


class SplitStream(Stream):
    """Task i holds classes (i-1)k…ik-1 of the class order, k = classes / tasks.

    Labels are positions in the class order (class-il, task-il) or within the task (domain-il).
    """

    def __init__(self, declared: DeclaredStream, seeds: Sequence[int], device: torch.device, data: Path | None = None) -> None:
        super().__init__(declared, seeds, device)
        config, source = self.spec.stream, declared.source
        assert isinstance(config, Split)
        assert source is not None
        self.input_shape = source.input_shape
        self._per_task = source.n_classes // config.tasks
        self.n_classes = self._per_task if self.scenario == "domain-il" else source.n_classes
        arrays = read(source, data)
        train_inputs, test_inputs, self._scaling = shown(arrays, source, device)
        # sorted by class, so that in natural order a task's test set is one block that needs no copy
        by_class = np.argsort(arrays.test_labels, kind="stable")
        test_inputs, test_labels = test_inputs[torch.from_numpy(by_class).to(device)], arrays.test_labels[by_class]
        class_orders = (
            draws.permutation(seeds, "class-order", source.n_classes)
            if config.class_order == "seed"
            else np.arange(source.n_classes)[None]
        )
        self._train = self._tasks(train_inputs, arrays.train_labels, class_orders, config.train_quota)
        self._test = self._tasks(test_inputs, test_labels, class_orders, config.test_quota)

    def _tasks(
        self, inputs: Tensor, labels: NDArray[np.int64], class_orders: NDArray[np.int64], quota: int | None
    ) -> list[Samples]:
        by_class = [np.flatnonzero(labels == label)[:quota] for label in range(class_orders.shape[1])]
        short = [label for label, rows in enumerate(by_class) if quota is not None and len(rows) < quota]
        if short:
            most = min(len(rows) for rows in by_class)
            raise SpecError([f"{self.declared.name}: stream quota: must be at most {most} samples per class, got {quota}"])
        tasks = []
        for first in range(0, class_orders.shape[1], self._per_task):
            positions = range(first, first + self._per_task)
            rows = np.stack([np.concatenate([by_class[order[p]] for p in positions]) for order in class_orders])
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
        return (
            torch.ones_like(positions, dtype=torch.bool)
            if self.scenario == "domain-il"
            else positions // self._per_task == task - 1
        )
