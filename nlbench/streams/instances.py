"""Streams whose tasks share the samples of a data set out, all classes in each (new instances, Lomonaco & Maltoni 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlbench import seeds as draws
from nlbench.errors import DataError
from nlbench.sources import read
from nlbench.streams.stream import Samples, Stream, black, shown

if TYPE_CHECKING:
    from nlbench.plan import DeclaredStream


class InstanceStream(Stream):
    """Of each class, in an order drawn once, every T-th sample is of the same task. Labels are the data set's own, or offset by
    task (class-il, task-il).
    """

    def __init__(self, declared: DeclaredStream, seeds: Sequence[int], device: torch.device, data: Path | None = None) -> None:
        super().__init__(declared, seeds, device)
        source = declared.source
        assert source is not None
        self.input_shape, self._own_classes = source.input_shape, source.n_classes
        self.n_classes = self._own_classes * (1 if self.scenario == "domain-il" else self.n_tasks)
        arrays = read(source, data)
        self.black = black(arrays, source, device)
        train, test, self._scaling = shown(arrays, source, device)
        self._train = self._shares(train, arrays.train_labels, "train")
        self._test = self._shares(test, arrays.test_labels, "test")

    def _shares(self, inputs: Tensor, labels: NDArray[np.int64], part: str) -> list[Samples]:
        task_of = np.empty(len(labels), np.int64)
        given = 0
        for label in range(self._own_classes):
            rows = np.flatnonzero(labels == label)
            order = draws.generator(draws.FIXED, f"instances/{part}/{label}").permutation(len(rows))
            task_of[rows[order]] = (given + np.arange(len(rows))) % self.n_tasks
            given += len(rows)  # go on where the class before ended, so that tasks are of one size but for one
        shares = [np.flatnonzero(task_of == task) for task in range(self.n_tasks)]
        if not all(map(len, shares)):
            raise DataError(f"{self.declared.name}: {len(labels)} {part} samples are too few for {self.n_tasks} tasks.")
        found = []
        for task, rows in enumerate(shares, 1):
            own, names = (torch.from_numpy(each)[None].to(self.device) for each in (rows, labels[rows] + self._offset(task)))
            found.append(Samples(inputs, own, names, scaling=self._scaling))
        return found

    def _offset(self, task: int) -> int:
        return 0 if self.scenario == "domain-il" else self._own_classes * (task - 1)

    def train(self, task: int) -> Samples:
        return self._train[task - 1]

    def test(self, task: int) -> Samples:
        return self._test[task - 1]

    def task_classes(self, task: int) -> Tensor:
        positions = torch.arange(self.n_classes, device=self.device)
        return (self._offset(task) <= positions) & (positions < self._offset(task) + self._own_classes)
