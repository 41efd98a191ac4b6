"""What a learner is told before a run, and shown in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Batches, Learner, Problem, observes_batches
from nlbench.errors import NlbenchError
from nlbench.protocol.order import PixelOrder
from nlbench.protocol.schedule import AT_ONCE, Position, Schedule, Stretch
from nlbench.streams.augmentation import Augmentation, augmentation
from nlbench.streams.stream import Samples, Stream

Shown = tuple[Stretch, Batch | Batches]


def problem_of(stream: Stream, *, steps: int, backend: str, precision: str = "float32") -> Problem:
    """Return what a learner is told about a stream; it will observe `steps` batches before its last row."""
    return Problem(
        input_shape=stream.input_shape,
        n_classes=stream.n_classes,
        seeds=stream.seeds,
        scenario=stream.scenario,
        device=stream.device,
        backend=backend,
        steps=steps,
        precision=precision,
        sample=stream.sample,
    )


_Shown = TypeVar("_Shown", Batch, Batches)


class Feed:
    """The training batches of a stream in the order of a schedule, as one learner is shown them.

    A learner that takes many batches at once gets them, `Batches`, where nothing is measured between them and no image has to
    be permuted; every other gets one `Batch` after another. The feed from any position is the rest of the whole feed.
    """

    def __init__(self, stream: Stream, schedule: Schedule, learner: Learner, order: PixelOrder) -> None:
        self._stream = stream
        self._schedule = schedule
        self._learner = learner
        self._order = order
        self._takes_batches = observes_batches(learner) and not schedule.prequential
        self._augment = stream.spec.protocol.augment

    def passes(self, start: Position) -> Iterator[Iterator[Shown]]:
        """Yield what is left of each pass of a task from `start` on; its order is drawn when it is yielded."""
        task, cumulative = start.task, self._schedule.cumulative
        samples = self._stream.train_until(task) if cumulative else self._order.samples(self._stream.train(task), task)
        classes, told = self._revealed(task)
        for number in range(start.passes, self._schedule.passes):
            purpose = f"joint/{task}/{number}" if cumulative else f"{task}/{number}"
            order = self._stream.presentation(purpose, len(samples), None if cumulative else samples.slots)
            position = start if number == start.passes else Position(task, number)
            if self._takes_batches and samples.orders is None and samples.scaling is None and not self._augment:
                yield self._many(samples, order, position, classes, told)
            else:
                changed = augmentation(self._augment, self._stream.seeds, purpose, len(samples), order.device, self._stream.black)
                yield self._single(samples, order, position, (classes, told), changed)

    def observe(self, shown: Batch | Batches, task: int) -> Tensor:
        """Let the learner observe what it is shown of `task`; return its losses, (S,) or (K, S)."""
        self._order.show(task)
        if isinstance(shown, Batches):
            version = shown.inputs._version
            losses = self._learner.observe_batches(shown).detach()
            if shown.inputs._version != version:
                raise NlbenchError(
                    f"{type(self._learner).__name__}.observe_batches must not write to the data that its batches are rows of.",
                    "No record was written. Mend the learner.",
                )
            return losses
        return self._learner.observe(shown).detach()

    def _single(
        self,
        samples: Samples,
        order: Tensor,
        start: Position,
        revealed: tuple[Tensor, int | None],
        changed: Augmentation | None,
    ) -> Iterator[tuple[Stretch, Batch]]:
        size = self._schedule.batch
        left = slice(start.batches * size, None)
        stretches = self._schedule.stretches(start, 1)
        batches = samples.batches(order[:, left], size, changed.part(left) if changed is not None else None)
        for stretch, (inputs, labels) in zip(stretches, batches, strict=True):
            yield stretch, self._apart(Batch(inputs, labels, *revealed))

    def _many(
        self, samples: Samples, order: Tensor, start: Position, classes: Tensor, told: int | None
    ) -> Iterator[tuple[Stretch, Batches]]:
        rows, labels = samples.presented(order)
        for stretch in self._schedule.stretches(start, AT_ONCE):
            part = slice(stretch.first, stretch.last)
            inputs, shown = samples.inputs, rows[:, part]
            if self._learner.outside:
                present, shown = shown.unique(return_inverse=True)
                inputs = inputs[present]
            yield stretch, self._apart(Batches(inputs, shown, labels[:, part], self._schedule.batch, classes, told))

    def _apart(self, shown: _Shown) -> _Shown:
        """Return what is shown, for somebody else's learner without the memory around it: there lie the labels to come."""
        if not self._learner.outside:
            return shown
        return replace(shown, inputs=_alone(shown.inputs), labels=_alone(shown.labels), classes=shown.classes.clone())

    def _revealed(self, task: int) -> tuple[Tensor, int | None]:
        """Return what training batches of a task reveal: the competing logits, and the task's number in task-il."""
        if self._stream.scenario == "task-il" and self._schedule.cumulative:
            return torch.ones(self._stream.n_classes, dtype=torch.bool, device=self._stream.device), None
        return self._stream.competing(task, task), task if self._stream.scenario == "task-il" else None


def _alone(value: Tensor) -> Tensor:
    """Return a tensor that shows all of its memory: itself, or a copy."""
    return value if value.untyped_storage().nbytes() == value.nbytes else value.clone()
