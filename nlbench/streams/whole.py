"""Streams whose every task is the whole data set, seen differently: pixels permuted, or images rotated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from math import cos, radians, sin
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nlbench import seeds as draws
from nlbench.errors import DataError
from nlbench.sources import Arrays, read
from nlbench.streams.config import Drifting, Rotated
from nlbench.streams.stream import Samples, Stream, black, scale, standardised

if TYPE_CHECKING:
    from nlbench.plan import DeclaredStream


class WholeStream(Stream):
    """Every task has all samples and all classes. Labels are the data set's own (domain-il), or offset by task (class-il,
    task-il).
    """

    def __init__(self, declared: DeclaredStream, seeds: Sequence[int], device: torch.device, data: Path | None = None) -> None:
        super().__init__(declared, seeds, device)
        assert declared.source is not None
        self._source = declared.source
        self._own_classes = self._source.n_classes
        self.n_classes = self._own_classes * (1 if self.scenario == "domain-il" else self.n_tasks)
        arrays = read(self._source, data)
        self.black = black(arrays, self._source, device)
        self._train_labels = torch.from_numpy(arrays.train_labels).to(device)[None]
        self._test_labels = torch.from_numpy(arrays.test_labels).to(device)[None]
        self._show(arrays)

    def _show(self, arrays: Arrays) -> None:
        """Make the inputs that the tasks show, and set `input_shape`."""
        raise NotImplementedError

    def _samples(self, inputs: Tensor, labels: Tensor, task: int) -> Samples:
        offset = 0 if self.scenario == "domain-il" else self._own_classes * (task - 1)
        return Samples(inputs, torch.arange(labels.shape[1], device=self.device)[None], labels + offset, start=0)

    def train_size(self, task: int) -> int:
        return self._train_labels.shape[1]

    def task_classes(self, task: int) -> Tensor:
        positions = torch.arange(self.n_classes, device=self.device)
        return (
            torch.ones_like(positions, dtype=torch.bool)
            if self.scenario == "domain-il"
            else positions // self._own_classes == task - 1
        )


class PermutedStream(WholeStream):
    """Each task reorders the pixels, the first task included; samples are pixel vectors (Goodfellow et al. 2013)."""

    def _show(self, arrays: Arrays) -> None:
        inputs = standardised(arrays, self._source, self.device)
        self._train_inputs, self._test_inputs = (images.flatten(1) for images in inputs)
        self.input_shape = tuple(self._train_inputs.shape[1:])
        self._orders = [
            torch.from_numpy(draws.permutation(self.seeds, f"permutation/{task}", self.input_shape[0])).to(self.device)
            for task in range(1, self.n_tasks + 1)
        ]

    def train(self, task: int) -> Samples:
        return self._samples(self._train_inputs, self._train_labels, task)

    def test(self, task: int) -> Samples:
        return self._samples(self._test_inputs, self._test_labels, task)

    def pixel_order(self, task: int) -> Tensor:
        return self._orders[task - 1]


class RelabelledStream(WholeStream):
    """Each task has its own labels: a seed puts the classes into an order, and in task i each class is called as the one i - 1
    places further.
    """

    def _show(self, arrays: Arrays) -> None:
        self._train_inputs, self._test_inputs = standardised(arrays, self._source, self.device)
        self.input_shape = self._source.input_shape
        self._class_orders = torch.from_numpy(draws.permutation(self.seeds, "relabelled", self._own_classes)).to(self.device)

    def train(self, task: int) -> Samples:
        return self._samples(self._train_inputs, self._called(task, self._train_labels), task)

    def test(self, task: int) -> Samples:
        return self._samples(self._test_inputs, self._called(task, self._test_labels), task)

    def _called(self, task: int, labels: Tensor) -> Tensor:
        """Return (S, n): what a task calls samples of these labels (1, n)."""
        order = self._class_orders
        return torch.empty_like(order).scatter_(1, order, order.roll(1 - task, 1))[:, labels[0]]


class DriftingStream(WholeStream):
    """Task i is changed by i - 1 steps; training sets are made when they are needed, the last one and all test sets are kept."""

    def _show(self, arrays: Arrays) -> None:
        config = self.spec.stream
        assert isinstance(config, Drifting)
        if arrays.train_inputs.dtype != np.float32:
            raise DataError(f"{self._source.name}: bytes are not made to drift.", "Use split, or a data set of other numbers.")
        self.input_shape = self._source.input_shape
        inputs = standardised(arrays, self._source, self.device)
        mean, deviation = inputs[0].mean(), inputs[0].std(correction=0)
        unit = scale(arrays, self._source, self.device)[1]
        fixed = (draws.FIXED,)

        def changed(part: int, task: int) -> Tensor:
            shown, steps = inputs[part], task - 1
            if config.change == "contrast":
                return mean + (shown - mean) * (1 - config.step) ** steps
            if config.change == "brightness":
                return shown + steps * config.step / unit
            noise = config.change == "noise"
            shape, purpose = (shown.shape, f"drift/{part}/{task}") if noise else (self.input_shape, "drift")
            by = torch.from_numpy(draws.normal(fixed, purpose, shape)[0]).to(self.device)
            return shown + steps * config.step * deviation * by

        self._train_shown = lru_cache(maxsize=1)(partial(changed, 0))
        self._test_shown = lru_cache(maxsize=None)(partial(changed, 1))

    def train(self, task: int) -> Samples:
        return self._samples(self._train_shown(task), self._train_labels, task)

    def test(self, task: int) -> Samples:
        return self._samples(self._test_shown(task), self._test_labels, task)


class RotatedStream(WholeStream):
    """Task i is rotated by (i-1) * degrees, bilinear, background 0 (Lopez-Paz & Ranzato 2017). Rotated images are made when a
    task needs them; the last training set and all test sets are kept.
    """

    def _show(self, arrays: Arrays) -> None:
        config, source = self.spec.stream, self._source
        assert isinstance(config, Rotated)
        self.input_shape = source.input_shape
        if len(source.input_shape) != 3 or source.input_shape[0] != 1 or arrays.train_inputs.dtype != np.float32:
            raise DataError(f"{source.name}: only images of one channel are rotated, got {source.input_shape}.", "Use split.")
        train, test = (torch.from_numpy(each).to(self.device) for each in arrays.raw())
        mean, std = scale(arrays, source, self.device)

        def turned(images: Tensor, task: int) -> Tensor:
            return rotate(images, config.degrees * (task - 1)).sub_(mean).div_(std)

        self._turned = partial(turned, train)
        self._train_images = lru_cache(maxsize=1)(self._turned)
        self._test_images = lru_cache(maxsize=None)(lambda task: turned(test, task))

    def train(self, task: int) -> Samples:
        return self._samples(self._train_images(task), self._train_labels, task)

    def test(self, task: int) -> Samples:
        return self._samples(self._test_images(task), self._test_labels, task)

    def train_until(self, task: int) -> Samples:
        n = self.train_size(task)
        images = torch.empty(task * n, *self.input_shape, device=self.device)
        for number, own in enumerate(images.split(n), start=1):
            own.copy_(self._turned(number))
        labels = torch.cat([self._samples(images, self._train_labels, number).labels for number in range(1, task + 1)], 1)
        return Samples(images, torch.arange(task * n, device=self.device)[None], labels, start=0)


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Return images (N, 1, h, w) turned counter-clockwise by `degrees` about their centre, bilinear, zeros outside."""
    angle = radians(degrees)
    turn = torch.tensor([[cos(angle), -sin(angle), 0.0], [sin(angle), cos(angle), 0.0]], device=images.device)
    grid = F.affine_grid(turn[None], [1, *images.shape[1:]], align_corners=False)
    # one grid for all images: let them be the channels of a single picture
    return (
        F.grid_sample(images.transpose(0, 1), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        .transpose(0, 1)
        .contiguous()
    )
