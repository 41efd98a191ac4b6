"""What a stream looks like, and whether it is what it should be: plain facts of each task, for display."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from nlbench.streams.stream import Samples, Stream

SHOWN: Final = 8
"""Samples of a task that are shown."""

MOST_TASKS: Final = 20
"""Tasks of a stream that are looked at: its first ones."""


@dataclass(frozen=True)
class TaskLook:
    """One task of the first seed.

    drift    how far the mean of its test samples is from that of the first task's, in deviations of a number there (root mean
             square)
    samples  (k, h, w) in [0, 1], its first test samples; None where a sample is no image
    """

    number: int
    train: int
    test: int
    labels: tuple[int, ...]
    drift: float
    samples: NDArray[np.float32] | None

    @property
    def labels_text(self) -> str:
        """Its labels, those that follow each other as first-last."""
        parts: list[list[int]] = []
        for label in self.labels:
            if parts and label == parts[-1][-1] + 1:
                parts[-1].append(label)
            else:
                parts.append([label])
        return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


@dataclass(frozen=True)
class Look:
    """What a stream looks like. `digest` identifies it; `class_order` is that of the first seed, () where classes are not dealt
    out, or as the data set numbers them; `faults` says in words what a stream should not be; `label_names` says what each
    label stands for, () where the data set calls labels by their numbers, or none stands for one class in all tasks.
    """

    name: str
    digest: str
    n_tasks: int
    scenario: str
    input_shape: tuple[int, ...]
    n_classes: int
    class_order: tuple[int, ...]
    tasks: tuple[TaskLook, ...]
    faults: tuple[str, ...]
    label_names: tuple[str, ...] = ()


def look(stream: Stream) -> Look:
    """Return what the first tasks of the first seed's stream look like."""
    orders = stream.class_orders
    first: NDArray[np.float64] | None = None
    deviation = 1.0
    tasks = []
    for task in range(1, min(stream.n_tasks, MOST_TASKS) + 1):
        test = stream.ordered(stream.test(task), task)
        total = sum(inputs[0].double().sum(0) for inputs, _ in test.blocks(2000))
        mean = np.asarray(torch.as_tensor(total) / len(test))
        if first is None:
            first = mean
            deviation = float(torch.cat([inputs[0].flatten() for inputs, _ in test.blocks(2000)]).std()) or 1.0
        labels = tuple(sorted(set(test.labels[0].tolist()) | set(stream.train(task).labels[0].tolist())))
        drift = float(np.sqrt(np.mean(np.square(mean - first)))) / deviation
        tasks.append(TaskLook(task, stream.train_size(task), len(test), labels, drift, _images(stream, test)))
    shape = tuple(stream.input_shape)
    return Look(
        stream.declared.name,
        stream.declared.digest,
        stream.n_tasks,
        stream.scenario,
        shape,
        stream.n_classes,
        () if orders is None or (np.diff(orders[0]) == 1).all() else tuple(orders[0].tolist()),
        tuple(tasks),
        tuple(faults(stream)),
    )


def faults(stream: Stream) -> Iterator[str]:
    """Yield what is wrong with the first seed's stream, in words: two tasks that are the same, a label that is only tested, test
    samples that are learned too. Cost: every sample is hashed once for each array that holds it.
    """
    seen: dict[bytes, int] = {}
    learned: set[int] = set()
    trained: set[int] = set()
    tested: list[tuple[int, set[int], set[int]]] = []
    for task in range(1, min(stream.n_tasks, MOST_TASKS) + 1):
        train, test = stream.train(task), stream.test(task)
        content = _whole(stream, test, task)
        if stream.first_of(task) == task and content in seen:
            yield f"tasks {seen[content]} and {task} have the same test set"
        seen.setdefault(content, task)
        learned.update(_hashes(train))
        trained.update(train.labels[0].tolist())
        tested.append((task, set(_hashes(test)), set(test.labels[0].tolist())))
    for task, samples, labels in tested:
        if only := labels - trained:
            yield f"task {task} tests labels that no task teaches: {', '.join(map(str, sorted(only)[:10]))}"
        if both := len(samples & learned):
            yield f"task {task}: {both} of {len(samples)} test samples are training samples too"


def _hashes(samples: Samples) -> list[int]:
    """Return a number for each sample of the first seed, before any pixel order: equal samples have equal ones."""
    rows = samples.inputs[samples.rows[0]].contiguous().cpu().numpy().reshape(len(samples), -1)
    return [int.from_bytes(blake2b(row.tobytes(), digest_size=8).digest(), "little") for row in rows]


def _whole(stream: Stream, samples: Samples, task: int) -> bytes:
    """Return a digest of a task's samples as it shows them, and their labels."""
    content = blake2b(samples.labels[0].cpu().numpy().tobytes(), digest_size=16)
    for inputs, _ in stream.ordered(samples, task).blocks(2000):
        content.update(inputs[0].contiguous().cpu().numpy().tobytes())
    return content.digest()


def _images(stream: Stream, test: Samples) -> NDArray[np.float32] | None:
    """Return samples of a test set as grey images, evenly spaced in it; None where they are none."""
    source = stream.declared.source
    shape = source.input_shape if source is not None and source.kind == "image" else stream.input_shape
    if len(shape) != 3:
        return None
    places = torch.linspace(0, len(test) - 1, min(SHOWN, len(test)), device=test.rows.device).long()
    inputs, _ = test.take(places[None])
    grey = inputs[0].float().reshape(-1, *shape).mean(1).cpu().numpy()
    low, high = grey.min(), grey.max()
    return ((grey - low) / (high - low or 1.0)).astype(np.float32)
