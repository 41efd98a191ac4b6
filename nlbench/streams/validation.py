"""A stream for tuning: the first tasks, each training set split into a part to learn and a part to be judged on. No test
sample is in it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nlbench import seeds as draws
from nlbench.streams.stream import Samples, Stream


class ValidationStream(Stream):
    """Tasks 1…`tasks` of a stream; a fixed `share` of each training set, the same for all seeds, stands in for the test set."""

    def __init__(self, stream: Stream, tasks: int, share: float) -> None:
        super().__init__(stream.declared, stream.seeds, stream.device)
        self.input_shape, self.n_classes, self.n_tasks = stream.input_shape, stream.n_classes, min(tasks, stream.n_tasks)
        self._stream = stream
        self._share = share

    def train(self, task: int) -> Samples:
        return self._part(task, judged=False)

    def test(self, task: int) -> Samples:
        return self._part(task, judged=True)

    def task_classes(self, task: int) -> Tensor:
        return self._stream.task_classes(task)

    def pixel_order(self, task: int) -> Tensor | None:
        return self._stream.pixel_order(task)

    def _part(self, task: int, *, judged: bool) -> Samples:
        samples = self._stream.train(task)
        order = torch.from_numpy(draws.permutation((draws.FIXED,), f"validation/{task}", len(samples))[0]).to(self.device)
        cut = round(self._share * len(samples))
        chosen = (order[:cut] if judged else order[cut:]).sort().values
        return replace(samples, rows=samples.rows[:, chosen], labels=samples.labels[:, chosen], start=None)
