"""Streams of tasks given as arrays in Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nlbench.sources.in_memory import InMemory
from nlbench.sources.source import Arrays
from nlbench.sources.user_files import FileSource
from nlbench.streams.stream import Samples, Stream, black

if TYPE_CHECKING:
    from nlbench.plan import DeclaredStream


class ArrayStream(Stream):
    """Tasks as they were given, in that order."""

    def __init__(self, declared: DeclaredStream, seeds: Sequence[int], device: torch.device, data: Path | None = None) -> None:
        super().__init__(declared, seeds, device)
        assert isinstance(declared.source, InMemory | FileSource)
        source = declared.source.in_memory(data)
        self.input_shape, self.n_classes = source.input_shape, source.n_classes
        self.black = black(Arrays(*source.tasks[0], source.scale), source, device)
        self._tasks = [tuple(torch.from_numpy(array).to(device) for array in task) for task in source.tasks]

    def train(self, task: int) -> Samples:
        inputs, labels = self._tasks[task - 1][:2]
        return Samples(inputs, torch.arange(len(labels), device=self.device)[None], labels[None], start=0)

    def test(self, task: int) -> Samples:
        inputs, labels = self._tasks[task - 1][2:]
        return Samples(inputs, torch.arange(len(labels), device=self.device)[None], labels[None], start=0)

    def task_classes(self, task: int) -> Tensor:
        classes = torch.zeros(self.n_classes, dtype=torch.bool, device=self.device)
        if self.scenario == "domain-il":
            return ~classes
        classes[torch.cat([self._tasks[task - 1][1], self._tasks[task - 1][3]])] = True
        return classes
