"""Data given as arrays in Python, task by task."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nlbench.errors import Blamed, DataError, Remark, UnknownNameError
from nlbench.sources.source import Arrays, Source

MOST_CLASSES: Final = 100_000
"""Labels index the logits directly: one stray large label would make every learner's last layer huge."""

NAMES: Final = ("train_inputs", "train_labels", "test_inputs", "test_labels")

TaskArrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True, eq=False)
class InMemory(Source):
    """Tasks, each (train inputs, train labels, test inputs, test labels), used as they are. Nobody else holds the arrays.

    scale  as in `Arrays`
    """

    tasks: tuple[TaskArrays, ...]
    scale: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return len(self.tasks)

    def in_memory(self, data: object = None) -> InMemory:
        """Return itself, as a file's tasks are asked for."""
        return self

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
        return Arrays(parts[0], parts[1], parts[2], parts[3], self.scale)


def from_arrays(place: str, tasks: Iterable[Any]) -> InMemory:
    """Return data as a source: inputs (n, *input_shape), labels integers that index the logits directly, from 0. All is copied.

    A task is (train inputs, train labels, test inputs, test labels), a mapping of these names, or (train, test), each of which is
    (inputs, labels) or a torch Dataset of such pairs, read whole, perhaps with a task label behind each. `place` names what they
    are for in errors. Raises `DataError` where shapes or labels do not fit, or there is but one; a `Remark` names labels that are
    tested and never trained.
    """
    tasks = list(tasks)
    if not tasks:
        raise DataError(f"{place}: must have at least one task.")
    arrays = tuple(_checked(f"{place}, task {number}", task) for number, task in enumerate(tasks, 1))
    shapes = {array.shape[1:] for task in arrays for array in (task[0], task[2])}
    if len(shapes) > 1:
        raise DataError(f"{place}: all inputs must have one shape, got {sorted(shapes)}.")
    (input_shape,) = shapes
    trained, tested = (np.unique(np.concatenate([task[part] for task in arrays])) for part in (1, 3))
    if len(np.union1d(trained, tested)) == 1:
        raise DataError(f"{place}: must have two different labels at least, got {trained[0]} in every row.")
    if len(unknown := np.setdiff1d(tested, trained)):
        said = ", ".join(map(str, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        warnings.warn(f"{place}: no task trains what test sets call {said}: nobody can have that right.", Remark, stacklevel=3)
    return InMemory(
        name="arrays",
        title="arrays given in Python",
        kind="image" if len(input_shape) == 3 else "vector",
        input_shape=input_shape,
        n_classes=1 + max(int(labels.max()) for task in arrays for labels in (task[1], task[3])),
        tasks=arrays,
    )


def _checked(place: str, task: Any) -> TaskArrays:
    train, test = _parts(place, task)
    return (*_pair(f"{place}: train", train), *_pair(f"{place}: test", test))


def _parts(place: str, task: Any) -> tuple[Any, Any]:
    """Return the training and the test part of a task, each inputs and labels or a Dataset of them."""
    if isinstance(task, Mapping):
        unknown = [name for name in task if name not in NAMES]
        if unknown:
            raise UnknownNameError(f"part of {place}", str(unknown[0]), NAMES)
        task = [task[name] for name in NAMES if name in task]
    if not isinstance(task, Sequence) or len(task) not in (2, 4):
        got = f"{len(task)} parts" if isinstance(task, Sequence) else f"a {type(task).__name__}"
        raise DataError(f"{place}: must be ({', '.join(NAMES).replace('_', ' ')}), or (train, test), got {got}.")
    return (task[:2], task[2:]) if len(task) == 4 else (task[0], task[1])


def _pair(place: str, part: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return copies of inputs and labels."""
    if not isinstance(part, Sequence) and not hasattr(part, "__array__") and hasattr(part, "__len__"):
        with Blamed(place):
            part = _read(place, part)
    if not isinstance(part, Sequence) or len(part) != 2:
        raise DataError(f"{place} must be (inputs, labels) or a Dataset with a length, got a {type(part).__name__}.")
    raw, labels = (_array(f"{place} {what}", value) for what, value in zip(("inputs", "labels"), part, strict=True))
    if raw.ndim < 2 or len(raw) == 0 or labels.shape != (len(raw),):
        raise DataError(f"{place} must be inputs (n, …) with n >= 1 and labels (n,), got {raw.shape} and {labels.shape}.")
    if labels.dtype.kind not in "iu":
        hint = "Number those of all tasks together: numpy.unique(labels, return_inverse=True)[1]. A data file may have words."
        raise DataError(f"{place} labels must be integers from 0, got {labels.dtype}.", hint)
    if labels.min() < 0 or labels.max() >= MOST_CLASSES:
        hint = "Number the classes from 0 without gaps."
        raise DataError(f"{place} labels must lie in 0..{MOST_CLASSES - 1}, got {labels.min()} to {labels.max()}.", hint)
    return _inputs(place, raw), labels.astype(np.int64)


def _inputs(place: str, raw: NDArray[Any]) -> NDArray[np.float32]:
    if raw.dtype == np.uint8:
        hint = "Divide them by 255 where they are pixels, or convert them to float32 where they are meant as they are."
        raise DataError(f"{place} inputs are bytes, 0 to 255: a learner wants numbers around 0.", hint)
    if raw.dtype.kind not in "fiub":
        raise DataError(f"{place} inputs must be an array of numbers, got {raw.dtype}.")
    if _channels_last(raw.shape):
        hint = "Images are (n, channels, height, width): transpose them (0, 3, 1, 2)."
        raise DataError(f"{place} inputs {raw.shape} have their channels last.", hint)
    with np.errstate(over="ignore"):
        inputs = np.array(raw, dtype=np.float32, order="C")
    bad = ~np.isfinite(inputs).reshape(len(inputs), -1).all(1)
    if bad.any():
        where = f"{' in float32' if np.isfinite(raw).all() else ''}, which those at index {bad.argmax()} are not"
        raise DataError(f"{place} inputs must be finite{where}.", "Fill what is missing, or leave those samples out.")
    if raw.dtype.itemsize > 4 and ((raw.min(0) < raw.max(0)) & (inputs.min(0) == inputs.max(0))).any():
        hint = "Subtract their mean before, in the type that they have."
        raise DataError(f"{place} inputs differ by less than float32 can tell so far from 0.", hint)
    return inputs


def _channels_last(shape: tuple[int, ...]) -> bool:
    """Whether a shape is that of (n, height, width, channels), which no image with its channels first has."""
    if len(shape) != 4 or min(shape[1:3]) <= 4:
        return False
    return shape[3] == 3 or (shape[3] in (1, 4) and shape[1] == shape[2])


def _array(place: str, value: Any) -> NDArray[Any]:
    """Return numbers as an array, a torch tensor's from wherever it is; not yet a copy."""
    torch = sys.modules.get("torch")  # who has no tensor need not import it
    try:
        if torch is not None and isinstance(value, torch.Tensor):
            value = value.detach().cpu()
            value = (value.float() if value.dtype == torch.bfloat16 else value).resolve_conj().resolve_neg().numpy()
        if np.ma.is_masked(value):
            raise ValueError("some of it is masked; fill it, or leave those samples out")
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{place} must be an array of numbers: {' '.join(str(error).split())}.") from None


def _read(place: str, samples: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return all samples of a Dataset; a whole number behind the label, as Avalanche's have it, tells no more than the place."""
    inputs: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    for index in range(len(samples)):
        sample = samples[index]
        if not isinstance(sample, Sequence) or not (len(sample) == 2 or (len(sample) == 3 and isinstance(sample[2], int))):
            got = f"a {type(sample).__name__}{f' of {len(sample)}' if isinstance(sample, Sequence) else ''}"
            raise DataError(f"{place}, sample {index} must be (input, label), got {got}.")
        for kept, value, what in zip((inputs, labels), sample[:2], ("input", "label"), strict=True):
            kept.append(_array(f"{place}, {what} {index}", value))
    try:
        return (np.stack(inputs), np.stack(labels)) if inputs else (np.empty((0, 0)), np.empty(0, np.int64))
    except ValueError as error:
        raise DataError(f"{place} must have samples of one shape: {error}.") from None
