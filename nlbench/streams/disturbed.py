"""What disturbs the tasks of a stream, as `nlbench.specs.disturbances` declares it. Every draw is a seed's own; how many
samples of which task stand where is the same for all seeds.

Shapes: S seeds, n samples of one task, T tasks, N samples of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlbench import seeds as draws
from nlbench.errors import DataError
from nlbench.specs.disturbances import Blur, Imbalance, Noise
from nlbench.streams.derived import Derived
from nlbench.streams.stream import Samples, Stream

if TYPE_CHECKING:
    from nlbench.plan import DeclaredStream


def disturbed(stream: Stream, declared: DeclaredStream) -> Stream:
    """Return a stream of the tasks that differ, with what its declaration disturbs."""
    said = declared.spec.stream
    if said.recurrence is not None:
        stream = Recurring(stream, declared)
    if said.imbalance is not None:
        stream = Imbalanced(stream, said.imbalance)
    if said.noise is not None:
        stream = Noisy(stream, said.noise)
    if said.blur is not None:
        stream = Blurred(stream, said.blur)
    return stream


class Recurring(Derived):
    """Task t is task 1 + (t - 1) mod K of a stream of K tasks."""

    def __init__(self, stream: Stream, declared: DeclaredStream) -> None:
        super().__init__(stream, declared)
        self.n_tasks = declared.spec.stream.tasks

    def train(self, task: int) -> Samples:
        return self._stream.train(self.first_of(task))

    def train_size(self, task: int) -> int:
        return self._stream.train_size(self.first_of(task))

    def test(self, task: int) -> Samples:
        return self._stream.test(self.first_of(task))

    def task_classes(self, task: int) -> Tensor:
        return self._stream.task_classes(self.first_of(task))

    def pixel_order(self, task: int) -> Tensor | None:
        return self._stream.pixel_order(self.first_of(task))

    def first_of(self, task: int) -> int:
        return 1 + (task - 1) % self._stream.n_tasks


class Imbalanced(Derived):
    """Of each label, or task, the share of training samples that a long tail leaves."""

    def __init__(self, stream: Stream, imbalance: Imbalance) -> None:
        super().__init__(stream)
        self._imbalance = imbalance

    def train(self, task: int) -> Samples:
        samples = self._stream.train(task)
        labels = samples.labels.expand(len(self.seeds), -1).cpu().numpy()
        chosen = [self._chosen(seed, task, own) for seed, own in zip(self.seeds, labels, strict=True)]
        if len({len(each) for each in chosen}) > 1:
            raise DataError(
                f"{self.declared.name}: an imbalance needs as many samples of label k for every seed.",
                'Give quotas to a split stream, or say across = "tasks".',
            )
        return samples.part(torch.from_numpy(np.stack(chosen)).to(self.device))

    def _chosen(self, seed: int, task: int, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which of a task's samples a seed keeps, ascending."""
        kept = []
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            place, n = (label, self.n_classes) if self._imbalance.across == "labels" else (task - 1, self.n_tasks)
            share = self._imbalance.ratio ** (-place / max(1, n - 1))
            order = draws.generator(seed, f"imbalance/{self.first_of(task)}/{label}").permutation(len(rows))
            kept.append(rows[order[: max(1, round(share * len(rows)))]])
        return np.sort(np.concatenate(kept))


class Noisy(Derived):
    """A share of each task's training labels is wrong."""

    def __init__(self, stream: Stream, noise: Noise) -> None:
        super().__init__(stream)
        self._noise = noise

    def train_size(self, task: int) -> int:
        return self._stream.train_size(task)

    def train(self, task: int) -> Samples:
        samples = self._stream.train(task)
        labels = samples.labels.expand(len(self.seeds), -1).cpu().numpy().copy()
        for seed, own in zip(self.seeds, labels, strict=True):
            classes = np.unique(own)
            if len(classes) < 2:
                raise DataError(
                    f"{self.declared.name}: task {task} has one class, which leaves no wrong label.",
                    "Leave noise out, or join classes.",
                )
            draw = draws.generator(seed, f"noise/{task}")
            wrong = draw.permutation(len(own))[: round(self._noise.share * len(own))]
            moved = np.searchsorted(classes, own[wrong]) + draw.integers(1, len(classes), len(wrong))
            own[wrong] = classes[moved % len(classes)]
        return replace(samples, labels=torch.from_numpy(labels).to(self.device))


class Blurred(Derived):
    """Training sets that mix tasks: whose turn it is says only which test set a learner is measured on as the present one. All
    training sets are made at once, and 8 bytes kept of each sample and seed.
    """

    def __init__(self, stream: Stream, blur: Blur) -> None:
        super().__init__(stream)
        self.mixes_tasks = True
        sizes = [stream.train_size(task) for task in range(1, self.n_tasks + 1)]
        self._ordered = blur.width is not None
        self._origins = spread(sizes, blur.share) if blur.share is not None else graded(sizes, blur.width or 0.0)
        self._bounds = [0, *accumulate(map(len, self._origins))]

    def train_size(self, task: int) -> int:
        return len(self._origins[task - 1])

    def train(self, task: int) -> Samples:
        samples = self._pool.part(self._places[:, self._bounds[task - 1] : self._bounds[task]])
        if not self._ordered:
            return samples
        return replace(samples, slots=torch.from_numpy(self._origins[task - 1]).to(self.device))

    def train_until(self, task: int) -> Samples:
        return self._pool.part(self._places[:, : self._bounds[task]])

    def task_classes(self, task: int) -> Tensor:
        classes = self._stream.task_classes(task).clone()
        for other in np.unique(self._origins[task - 1]).tolist():
            classes |= self._stream.task_classes(other)
        return classes

    @cached_property
    def _pool(self) -> Samples:
        """The training sets of all tasks, one behind the other."""
        return self._stream.train_until(self.n_tasks)

    @cached_property
    def _places(self) -> Tensor:
        """(S, N): where in the pool each seed's samples are, in stream order."""
        origins = np.concatenate(self._origins)
        places = np.empty((len(self.seeds), len(origins)), np.int64)
        start = 0
        for task in range(1, self.n_tasks + 1):
            slots = np.flatnonzero(origins == task)
            places[:, slots] = start + draws.permutation(self.seeds, f"blur/{task}", len(slots))
            start += len(slots)
        return torch.from_numpy(places).to(self.device)


def spread(sizes: Sequence[int], share: float) -> list[NDArray[np.int64]]:
    """Return the tasks of the samples in each turn: of each task, round(share * n) stand in the others' turns, in each as many
    but for one.
    """
    n_tasks = len(sizes)
    turns: list[list[NDArray[np.int64]]] = [[] for _ in sizes]
    for task, size in enumerate(sizes):
        away = round(share * size)
        each, left = divmod(away, n_tasks - 1)
        for ahead in range(n_tasks):
            count = size - away if ahead == 0 else each + (ahead <= left)
            turns[(task + ahead) % n_tasks].append(np.full(count, task + 1))
    return [np.sort(np.concatenate(turn)) for turn in turns]


def graded(sizes: Sequence[int], width: float) -> list[NDArray[np.int64]]:
    """Return the tasks of the samples in each turn, in order: each sample is moved in time by a logistic variable whose scale is
    `width` times the mean size of a task, so that one task fades into the next as a sigmoid.
    """
    tasks = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    uniform = draws.generator(draws.FIXED, "blur/times").random(len(tasks))
    times = np.arange(len(tasks)) + width * float(np.mean(sizes)) * np.log(uniform / (1 - uniform))
    bounds = [0, *accumulate(sizes)]
    shown = tasks[np.argsort(times, kind="stable")]
    return [shown[first:last] for first, last in pairwise(bounds)]
