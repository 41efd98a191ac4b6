"""Data given as arrays in Python, task by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlbench.errors import DataError
from nlbench.sources.source import Arrays, Source

MOST_CLASSES: Final = 100_000
"""Labels index the logits directly: one stray large label would make every learner's last layer huge."""

TaskArrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Given(Source):
    """Tasks, each (train inputs, train labels, test inputs, test labels), used as they are."""

    tasks: tuple[TaskArrays, ...]

    @cached_property
    def checksum(self) -> str:
        """A digest of every array, its shape and its place."""
        content = blake2b(digest_size=8)
        for task in self.tasks:
            for array in task:
                content.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return content.hexdigest()

    def read(self, data: object = None) -> Arrays:
        """Return all tasks as one data set."""
        parts = [np.concatenate(part) for part in zip(*self.tasks, strict=True)]
        return Arrays(parts[0], parts[1], parts[2], parts[3])


def given(place: str, tasks: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]]) -> Given:
    """Return arrays as a source: inputs (n, *input_shape), labels integers that index the logits directly, from 0.

    `place` names what they are for in errors. Raises `DataError` where shapes or labels do not fit.
    """
    if not tasks:
        raise DataError(f"{place}: must have at least one task.")
    arrays = tuple(_checked(f"{place}, task {number}", task) for number, task in enumerate(tasks, 1))
    shapes = {array.shape[1:] for task in arrays for array in (task[0], task[2])}
    if len(shapes) > 1:
        raise DataError(f"{place}: all inputs must have one shape, got {sorted(shapes)}.")
    (input_shape,) = shapes
    return Given(
        name="arrays",
        title="arrays given in Python",
        kind="image" if len(input_shape) == 3 else "vector",
        input_shape=input_shape,
        n_classes=1 + max(int(labels.max()) for task in arrays for labels in (task[1], task[3])),
        tasks=arrays,
    )


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
