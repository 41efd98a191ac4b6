"""The test samples that are measured: whole test sets at boundaries, a fixed part of each within tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

from nlbench import seeds as draws
from nlbench.protocol.order import PixelOrder
from nlbench.protocol.schedule import WITHIN_SAMPLES, WITHIN_SHARE
from nlbench.streams.stream import Samples, Stream

BLOCK: Final = 2000
"""Test samples predicted in one call, at most."""

Block = tuple[Tensor, Tensor]
"""Inputs (1 or S, N, *input_shape) and labels (1 or S, N)."""


class Whole:
    """Whole test sets."""

    share: int | None = None
    """Of so many samples that are measured one is predicted once more; None: as many as everywhere, whatever is measured."""

    def __init__(self, stream: Stream, order: PixelOrder) -> None:
        self._stream = stream
        self._order = order

    def size(self, task: int) -> int:
        """Return how many samples of a task are measured."""
        return len(self._stream.test(task))

    def shown(self, task: int) -> Samples:
        """Return a task's samples as the task shows them, whatever order the learner can stand in."""
        return self._stream.ordered(self._stream.test(task), task)

    def fed(self, task: int) -> Iterable[Block]:
        """Return a task's samples as they are fed, in blocks."""
        return self._order.samples(self._stream.test(task), task).blocks(BLOCK)


class Part(Whole):
    """A fixed subsample of each test set, drawn once, the same for all seeds."""

    share = WITHIN_SHARE

    def __init__(self, stream: Stream, order: PixelOrder) -> None:
        super().__init__(stream, order)
        self._chosen: dict[int, Tensor] = {}
        self._blocks: dict[int, Block] = {}

    def size(self, task: int) -> int:
        return min(WITHIN_SAMPLES, super().size(task))

    def shown(self, task: int) -> Samples:  # not kept: a stream may make its inputs anew
        return super().shown(task).part(self._places(task))

    def fed(self, task: int) -> Iterable[Block]:
        if task not in self._blocks:
            self._blocks[task] = self._order.samples(self._stream.test(task), task).take(self._places(task))
        return [self._blocks[task]]

    def _places(self, task: int) -> Tensor:
        """Return which of a task's test samples are measured, (1, n)."""
        if task not in self._chosen:
            chosen = draws.permutation((draws.FIXED,), f"evaluation/{task}", super().size(task))[:, :WITHIN_SAMPLES]
            self._chosen[task] = torch.from_numpy(chosen).to(self._stream.device)
        return self._chosen[task]
