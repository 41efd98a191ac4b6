"""Streams made from arrays in Python: one (train inputs, train labels, test inputs, test labels) per task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nlbench.errors import DataError
from nlbench.specs import StreamSpec, stream_spec
from nlbench.streams.stream import Samples, Stream

MOST_CLASSES: Final = 100_000
"""Labels index the logits directly: one stray large label would make every learner's last layer huge."""

TaskArrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class ArrayTasks:
    """A stream declared in Python; `nlbench.run` takes it in place of a stream's name."""

    name: str
    spec: StreamSpec
    tasks: tuple[TaskArrays, ...]


def from_arrays(
    name: str,
    tasks: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]],
    *,
    scenario: str = "class-il",
    batch: int = 32,
    **protocol: object,
) -> ArrayTasks:
    """Return a stream of the given tasks, each (train inputs, train labels, test inputs, test labels), in order.

    Inputs are (n, *input_shape) and are used as they are; labels are integers that index the logits directly, from 0. Further
    keywords are the stream's `[protocol]` values, such as `passes=2` or `evaluate_every=500`. Raises `DataError` where shapes
    or labels do not fit, `SpecError` where a protocol value breaks its rule.
    """
    if not re.fullmatch(r"[^./\\\0][^/\\\0]*", name):
        raise DataError(f"stream name: must be usable as part of a file name, got {name!r}.")
    checked = tuple(_checked(f"stream {name}, task {number}", task) for number, task in enumerate(tasks, 1))
    shapes = {array.shape[1:] for task in checked for array in (task[0], task[2])}
    if len(shapes) > 1:
        raise DataError(f"stream {name}: all inputs must have one shape, got {sorted(shapes)}.")
    content = blake2b(digest_size=8)
    for task in checked:
        for array in task:
            content.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    table = {
        "title": name,
        "stream": {"kind": "arrays", "checksum": content.hexdigest(), "tasks": len(checked), "scenario": scenario},
        "protocol": {"batch": batch, **protocol},
    }
    return ArrayTasks(name, stream_spec(table, f"stream {name}"), checked)


def _checked(place: str, task: Sequence[ArrayLike]) -> TaskArrays:
    if len(task) != 4:
        raise DataError(f"{place}: must be (train inputs, train labels, test inputs, test labels), got {len(task)} parts.")
    arrays: list[NDArray] = []
    for part, inputs, labels in (("train", *task[:2]), ("test", *task[2:])):
        try:
            x, y = np.asarray(inputs, dtype=np.float32), np.asarray(labels)
        except (TypeError, ValueError) as error:
            raise DataError(f"{place}: {part} must be arrays of numbers: {error}.") from None
        if len(x) == 0 or x.ndim < 2 or y.shape != (len(x),):
            raise DataError(f"{place}: {part} must be inputs (n, …) with n >= 1 and labels (n,), got {x.shape} and {y.shape}.")
        if not np.issubdtype(y.dtype, np.integer):
            raise DataError(f"{place}: {part} labels must be integers from 0, got {y.dtype}.")
        if y.min() < 0 or y.max() >= MOST_CLASSES:
            hint = "Number the classes from 0 without gaps."
            raise DataError(f"{place}: {part} labels must lie in 0..{MOST_CLASSES - 1}, got {y.min()} to {y.max()}.", hint)
        if not np.isfinite(x).all():
            raise DataError(f"{place}: {part} inputs must be finite.")
        arrays += [x, y.astype(np.int64)]
    return (arrays[0], arrays[1], arrays[2], arrays[3])


class ArrayStream(Stream):
    """The running form of `ArrayTasks`."""

    def __init__(self, declared: ArrayTasks, seeds: Sequence[int], device: torch.device) -> None:
        super().__init__(declared.name, declared.spec, seeds, device)
        self.input_shape = declared.tasks[0][0].shape[1:]
        self.n_classes = 1 + max(int(labels.max()) for task in declared.tasks for labels in (task[1], task[3]))
        self._tasks = [tuple(torch.from_numpy(array).to(device) for array in task) for task in declared.tasks]

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
