"""The base of every stream: tasks as rows of shared arrays, for all seeds at once.

Shapes: S seeds, N images of the data set, n samples of one task, d numbers in one sample, C logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlbench import seeds as draws
from nlbench.sources import Arrays, Source
from nlbench.streams.augmentation import Augmentation
from nlbench.streams.scaling import Scaling, by_channel

if TYPE_CHECKING:
    from nlbench.plan import DeclaredStream

AHEAD: Final = {"cuda": 8}
"""Batches gathered at once, where a launch costs more than its data; elsewhere one, which stays in the cache."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of one or more tasks, as rows of an array that is never copied.

    inputs   (N, *input_shape)
    rows     (1 or S, n) int64 into `inputs`; 1 where all seeds share them
    labels   (1 or S, n) int64
    orders   (K, S, d) int64 pixel orders, or None: sample i shows `inputs[row].flatten()[orders[order_of[i], seed]]`
    order_of (n,) int64 into `orders`
    start    set where the rows of all seeds are start, start+1, …: then reading them in order needs no copy
    slots    (n,) int64, or None where samples may be presented in any order: sample i stands only where one of its slot does
    scaling  what makes `inputs` the numbers that are shown, where they are bytes; None where they are those numbers
    """

    inputs: Tensor
    rows: Tensor
    labels: Tensor
    orders: Tensor | None = None
    order_of: Tensor | None = None
    start: int | None = None
    slots: Tensor | None = None
    scaling: Scaling | None = None

    def __len__(self) -> int:
        return self.rows.shape[1]

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs (1 or S, m, *input_shape) and labels (1 or S, m) for positions `index` (1 or S, m)."""
        rows, labels = chosen(self.rows, index), chosen(self.labels, index)
        order_of = self.order_of[index.expand(len(rows), -1)] if self.order_of is not None else None
        return self._show(rows, order_of), labels

    def part(self, index: Tensor) -> Samples:
        """Return those at positions `index` (1 or S, m); orders and slots there must be the same for every seed."""
        order_of, slots = (each[index[0]] if each is not None else None for each in (self.order_of, self.slots))
        rows, labels = chosen(self.rows, index), chosen(self.labels, index)
        return replace(self, rows=rows, labels=labels, order_of=order_of, start=None, slots=slots)

    def blocks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, labels) in their own order, `size` samples at a time; views where that is possible."""
        for first in range(0, len(self), size):
            last = min(first + size, len(self))
            if self.start is not None and self.orders is None:
                yield self._scaled(self.inputs[None, self.start + first : self.start + last]), self.labels[:, first:last]
            else:
                yield self.take(torch.arange(first, last, device=self.rows.device)[None])

    def presented(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows and labels (S, n) in the presentation order (S, n)."""
        return chosen(self.rows, order), chosen(self.labels, order)

    def batches(self, order: Tensor, size: int, changed: Augmentation | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, labels) in the presentation order (S, n), or part of it, `size` at a time, the short last batch too; the
        inputs are images that are changed where `changed` says how.
        """
        rows, labels = self.presented(order)
        order_of = self.order_of[order] if self.order_of is not None else None
        ahead, start = AHEAD.get(self.inputs.device.type, 1) if changed is None else 1, 0
        while start < order.shape[1]:
            count = ahead if start + ahead * size <= order.shape[1] else 1
            part = slice(start, start + count * size)
            start = part.stop
            own, orders = rows[:, part], None if order_of is None else order_of[:, part]
            if changed is not None:
                yield self._scaled(changed.part(part)(self._gather(own))), labels[:, part]
            elif count == 1:
                yield self._show(own, orders), labels[:, part]
            else:
                shown = self._show(_cut(own, count), None if orders is None else _cut(orders, count))
                yield from zip(shown, _cut(labels[:, part], count), strict=True)

    def _show(self, rows: Tensor, order_of: Tensor | None) -> Tensor:
        """Return the images (…, 1 or S, n, *input_shape) of rows (…, 1 or S, n), in the pixel orders of as many numbers."""
        images = self._scaled(self._gather(rows))
        if self.orders is None or order_of is None:
            return images
        orders = self.orders[order_of, torch.arange(self.orders.shape[1], device=rows.device)[:, None]]
        return images.flatten(rows.ndim).expand(orders.shape).gather(-1, orders).unflatten(-1, images.shape[rows.ndim :])

    def _gather(self, rows: Tensor) -> Tensor:
        return self.inputs.index_select(0, rows.reshape(-1)).view(*rows.shape, *self.inputs.shape[1:])

    def _scaled(self, images: Tensor) -> Tensor:
        return images if self.scaling is None else self.scaling(images)


class Stream:
    """An ordered list of tasks, numbered 1…T, for S seeds. Subclasses say which rows a task has; the base does the rest.

    `declared` identifies it; `input_shape` and `n_classes` are what a learner is told. A seed's data never depends on the other
    seeds. A kind of stream of one's own carries a `Config`, whose base is `nlbench.streams.config.SourceConfig` where it is cut
    from a data set: `declared.source`, which `nlbench.sources.read` reads.
    """

    mixes_tasks: bool = False
    """Whether a training set holds samples of several tasks, each in its own pixel order."""

    class_orders: NDArray[np.int64] | None = None
    """(1 or S, C): in which order each seed is dealt the classes, 1 where all share it; None where none are dealt out."""

    black: Tensor | float = 0.0
    """What a raw 0 is among the inputs of training samples, as they are kept."""

    def __init__(self, declared: DeclaredStream, seeds: Sequence[int], device: torch.device, data: Path | None = None) -> None:
        """Make the tasks for these seeds on a device; `data` is the folder of data sets, None where they are always looked for.
        Subclasses set `input_shape` and `n_classes`.
        """
        self.declared = declared
        self.spec = declared.spec
        self.seeds = tuple(seeds)
        self.device = device
        self.n_tasks = self.spec.stream.tasks
        self.scenario = self.spec.stream.scenario
        self.input_shape: tuple[int, ...]
        self.n_classes: int

    @property
    def sample(self) -> Literal["image", "vector", "sequence", "features"] | None:
        """What a sample is: what the source says, or a vector where tasks reorder its numbers; None where no source says."""
        if self.pixel_order(1) is not None:
            return "vector"
        return self.declared.source.kind if self.declared.source is not None else None

    def train(self, task: int) -> Samples:
        """Return the training set of a task, before any pixel order."""
        raise NotImplementedError

    def test(self, task: int) -> Samples:
        """Return the test set of a task, before any pixel order."""
        raise NotImplementedError

    def train_size(self, task: int) -> int:
        """Return how many training samples a task has; cheap where making them is not."""
        return len(self.train(task))

    def task_classes(self, task: int) -> Tensor:
        """Return (C,) bool: the logits that a task's labels use."""
        raise NotImplementedError

    def first_of(self, task: int) -> int:
        """Return the number of the first task that has the same samples: its own, unless tasks recur."""
        return task

    def pixel_order(self, task: int) -> Tensor | None:
        """Return (S, d): what each position of a sample shows, or None where pixels stay in place."""
        return None

    def train_until(self, task: int) -> Samples:
        """Return the training sets of tasks 1…task as one, pixel orders included: what `joint` learns from."""
        parts = [self.train(number) for number in range(1, task + 1)]
        bases: list[Tensor] = []
        rows, labels = [], []
        drawn, called = (max(map(len, own)) for own in zip(*((part.rows, part.labels) for part in parts), strict=True))
        for part in parts:
            if not any(part.inputs is base for base in bases):
                bases.append(part.inputs)
            start = sum(len(base) for base in bases[: next(i for i, base in enumerate(bases) if base is part.inputs)])
            rows.append(part.rows.expand(drawn, -1) + start)
            labels.append(part.labels.expand(called, -1))
        orders = [order for number in range(1, task + 1) if (order := self.pixel_order(number)) is not None]
        return Samples(
            inputs=torch.cat(bases) if len(bases) > 1 else bases[0],
            rows=torch.cat(rows, dim=1),
            labels=torch.cat(labels, dim=1),
            orders=torch.stack(orders) if orders else None,
            order_of=torch.cat([torch.full((len(part),), i, device=self.device) for i, part in enumerate(parts)])
            if orders
            else None,
            scaling=parts[0].scaling,
        )

    def ordered(self, samples: Samples, task: int) -> Samples:
        """Return the samples as the task shows them, its pixel order included unless they have their own."""
        order = self.pixel_order(task)
        if order is None or samples.orders is not None:
            return samples
        return replace(samples, orders=order[None], order_of=torch.zeros(len(samples), dtype=torch.int64, device=self.device))

    def presentation(self, purpose: str, n: int, slots: Tensor | None = None) -> Tensor:
        """Return (S, n): the order in which each seed sees n samples, drawn under `order/<purpose>`; with slots (n,), a sample
        moves only among those of its own.
        """
        order = torch.from_numpy(draws.permutation(self.seeds, f"order/{purpose}", n)).to(self.device)
        if slots is None:
            return order
        by_slot = slots.argsort(stable=True)
        kept = torch.empty_like(order)
        kept[:, by_slot] = order.gather(1, slots[order].argsort(dim=1, stable=True))
        return kept

    def competing(self, tasks_seen: int, task: int) -> Tensor:
        """Return (C,) bool: the logits that compete on `task` after `tasks_seen` tasks. Before any task, all do."""
        space = self.spec.output_space
        if space == "task":
            return self.task_classes(task)
        seen = torch.zeros(self.n_classes, dtype=torch.bool, device=self.device)
        if space == "seen":
            for number in range(1, tasks_seen + 1):
                seen |= self.task_classes(number)
        return seen if seen.any() else ~seen

    def label_shares(self, task: int) -> Tensor:
        """Return (S, C) float64: the share of each label in the task's test set."""
        labels = self.test(task).labels
        counts = torch.stack([torch.bincount(row, minlength=self.n_classes) for row in labels])
        return (counts.double() / labels.shape[1]).expand(len(self.seeds), -1)

    def chance(self, task: int) -> Tensor:
        """Return (S,) float64: the share of the task's best constant label in its test set."""
        return self.label_shares(task).amax(1)

    def chance_of_all(self) -> Tensor:
        """Return (S,) float64: the average accuracy over all tasks of the best constant answer, which is one label, or one a task
        where the task is told.
        """
        shares = torch.stack([self.label_shares(task) for task in range(1, self.n_tasks + 1)])
        return shares.amax(2).mean(0) if self.scenario == "task-il" else shares.mean(0).amax(1)


def _cut(values: Tensor, count: int) -> Tensor:
    """Return values (S, count B) as batches (count, S, B), each in one piece."""
    return values.unflatten(1, (count, -1)).transpose(0, 1).contiguous()


def chosen(values: Tensor, index: Tensor) -> Tensor:
    """Return (1 or S, m): of values (1 or S, n), those at positions `index` (1 or S, m)."""
    size = max(len(values), len(index))
    return values.expand(size, -1).gather(1, index.expand(size, -1))


def scale(arrays: Arrays, source: Source, device: torch.device) -> tuple[Tensor | float, Tensor | float]:
    """Return the mean and the deviation by which raw numbers are shown, (raw - mean) / std."""
    if arrays.scale is None:
        return source.mean, source.std
    mean, std = (torch.from_numpy(each.astype(np.float32)).to(device) for each in arrays.scale)
    return mean + std * source.mean, std * source.std


def black(arrays: Arrays, source: Source, device: torch.device) -> Tensor | float:
    """Return what a raw 0 is among inputs as `shown` keeps them."""
    if arrays.train_inputs.dtype == np.uint8:
        return 0.0
    mean, std = scale(arrays, source, device)
    return -mean / std


def standardised(arrays: Arrays, source: Source, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return train and test inputs, (value - mean) / std with the training set's constants, made in the arrays' own memory: to
    ask for as much again takes longer than all arithmetic. The arrays' inputs are raw no more. Bytes are scaled by channel.
    """
    if arrays.train_inputs.dtype == np.uint8:
        train, test, scaling = shown(arrays, source, device)
        assert scaling is not None
        return scaling(train), scaling(test)
    mean, std = np.float32(source.mean), np.float32(source.std)

    def scaled(images: NDArray[np.float32]) -> Tensor:
        if (mean, std) == (0.0, 1.0):  # what is mapped from a file stays there
            return torch.from_numpy(images).to(device)
        np.subtract(images, mean, out=images)
        return torch.from_numpy(np.divide(images, std, out=images)).to(device)

    return scaled(arrays.train_inputs), scaled(arrays.test_inputs)


def shown(arrays: Arrays, source: Source, device: torch.device) -> tuple[Tensor, Tensor, Scaling | None]:
    """Return train and test inputs as they are kept, and what scales them when they are shown: bytes stay bytes, other numbers
    are standardised at once.
    """
    if arrays.train_inputs.dtype != np.uint8:
        return *standardised(arrays, source, device), None
    train, test = (torch.from_numpy(images).to(device) for images in (arrays.train_inputs, arrays.test_inputs))
    return train, test, by_channel(arrays.train_inputs, device)
