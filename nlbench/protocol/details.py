"""What is recorded of answers to whole test sets beside how many are right, where a stream asks for it.

Shapes: S seeds, N samples of a block, C logits, T tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from nlbench.records import Row
from nlbench.records.schema import CONFUSION
from nlbench.streams.stream import Stream

BINS: Final = 15
"""Of confidence, of equal width: Guo et al. 2017."""


class Details:
    """Sums over the answers at one boundary, left on the device; nothing is kept of what no table of the stream asks for.

    confusion.<label>.<answer>    samples of a label that got an answer, of all tasks measured; those that none got are left out
    task_aware_accuracy           the share right where only the task's own classes compete
    negative_log_likelihood       mean over a task's samples of -log softmax of the label, in nats; null where it is infinite
    calibration_error             mean over a task's samples of |confidence - share right| of their bin of confidence
    """

    def __init__(self, stream: Stream) -> None:
        asked = stream.spec.protocol
        self._stream = stream
        self._confusion, self._aware, self._calibration = asked.confusion, asked.task_aware, asked.calibration
        self.begin()

    def begin(self) -> None:
        """Forget the boundary before."""
        seeds, classes, tasks = len(self._stream.seeds), self._stream.n_classes, self._stream.n_tasks + 1
        device = self._stream.device
        self._confused = torch.zeros(seeds, classes * classes if self._confusion else 0, dtype=torch.int64, device=device)
        self._right = torch.zeros(tasks if self._aware else 0, seeds, dtype=torch.float64, device=device)
        self._nll = torch.zeros(tasks if self._calibration else 0, seeds, dtype=torch.float64, device=device)
        self._bins = torch.zeros(len(self._nll), seeds, BINS, dtype=torch.float64, device=device)
        self._sizes: dict[int, int] = {}

    def take(self, task: int, logits: Tensor, labels: Tensor, classes: Tensor) -> None:
        """Take answers (S, N, C) to samples of a task with labels (1 or S, N); `classes` (C,) compete."""
        labels = labels.expand(len(logits), -1)
        self._sizes[task] = self._sizes.get(task, 0) + labels.shape[1]
        competing = logits.masked_fill(~classes, -torch.inf)
        if self._confusion:
            cells = labels * self._stream.n_classes + competing.argmax(-1)
            self._confused.scatter_add_(1, cells, torch.ones_like(cells))
        if self._aware:
            own = logits.masked_fill(~self._stream.task_classes(task), -torch.inf)
            self._right[task] += (own.argmax(-1) == labels).sum(-1)
        if self._calibration:
            shares = competing.double().log_softmax(-1)
            self._nll[task] -= shares.gather(-1, labels[..., None]).sum((1, 2))
            confidence, answer = shares.exp().max(-1)
            bins = (confidence * BINS).long().clamp(max=BINS - 1)
            self._bins[task].scatter_add_(1, bins, (answer == labels).double() - confidence)

    def rows(self, after_task: int) -> Iterator[Row]:
        """Yield what was asked for, at the boundary after a task."""
        sizes = sorted(self._sizes.items())
        for task, n in sizes if self._aware else ():
            yield from self._each("task_aware_accuracy", after_task, task, self._right[task] / n, n)
        for task, n in sizes if self._calibration else ():
            yield from self._each("negative_log_likelihood", after_task, task, self._nll[task] / n, n)
            yield from self._each("calibration_error", after_task, task, self._bins[task].abs().sum(-1) / n, n)
        if self._confusion:
            found, classes = self._confused.cpu(), self._stream.n_classes
            sums = found.unflatten(1, (classes, classes)).sum(-1)
            for index, cell in found.nonzero().tolist():
                label, answer = divmod(cell, classes)
                seed, n = self._stream.seeds[index], int(sums[index, label])
                yield Row(seed, after_task, None, None, f"{CONFUSION}{label}.{answer}", float(found[index, cell]), n)

    def _each(self, metric: str, after_task: int, task: int, values: Tensor, n: int) -> Iterator[Row]:
        for seed, value in zip(self._stream.seeds, values.tolist(), strict=True):
            yield Row(seed, after_task, task, None, metric, value if value < float("inf") else None, n)
