"""GDumb: whenever a task ends, a network is trained anew on a balanced buffer and nothing else. It shows what samples alone give.

Source: Prabhu, Torr & Dokania 2020 (ECCV), alg. 1 and section 4: SGD, the rate a cosine with restarts (Loshchilov & Hutter 2017)
in cycles of 1, 2, 4, … passes; without their CutMix. Here each sample of a class is as likely to be kept, not the first ones.

Told    when a task ends.
Stored  `capacity` samples with labels, as many of each class.
Cost    when a task ends, `passes` passes over what is stored in steps of `fit_batch` samples, which are no passes over the
        stream; meanwhile a forward pass of each batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.gradient import cross_entropy
from nlbench.learners.replay.config import GdumbConfig
from nlbench.learners.replay.rehearsal import Rehearsal, competing


class Gdumb(Rehearsal):
    """Stores while it is shown a task, and answers with the network that was trained when the last one ended."""

    needs: ClassVar[tuple[str, ...]] = ("boundaries",)
    captured = False  # the rate changes from pass to pass
    exempt: ClassVar[Mapping[str, str]] = {"one pass": "when a task ends it is trained anew, in many passes over what it stores"}

    def __init__(self, config: GdumbConfig, problem: Problem) -> None:
        self._passes, self._fit_batch = config.passes, config.fit_batch
        self._rates = config.least_rate, config.optimizer.rate
        self.classes = torch.ones(problem.n_classes, dtype=torch.bool, device=problem.device)
        """(C,): those that competed in the last batch."""
        super().__init__(config, problem, policy="balanced")

    @torch.no_grad()
    def observe(self, batch: Batch) -> Tensor:
        """Store the batch; return the loss of the network, which stays as it is."""
        losses = cross_entropy(self.logits(batch.inputs, None, training=False), batch.labels, batch.classes)
        self.classes.copy_(batch.classes)
        self.after_step(batch)
        return losses

    def end_task(self) -> None:
        self._begin_anew()
        stored = min(self.buffer.added, self.buffer.capacity)
        for number in range(self._passes):
            self.rate = cosine(number, *self._rates)
            for places in self.buffer.places(stored).split(self._fit_batch, 1):
                old = self.buffer.at(places)
                told = Batch(old["inputs"], old["labels"], self.classes, None)
                self._step(Batch(told.inputs, told.labels, competing(told, old), None))

    @torch.no_grad()
    def _begin_anew(self) -> None:
        """Put the network, its state and the optimizer's slots back to their start."""
        parameters, state = self.network.initial(self._problem.seeds)
        parameters = {**parameters, **self.head.initial()}
        slots = self.optimizer.initial(parameters)
        pairs = [(self.parameters, parameters), (self.state, state), *((self.slots[kind], slots[kind]) for kind in slots)]
        for own, first in pairs:
            for name, value in own.items():
                value.copy_(first[name])


def cosine(number: int, least: float, most: float) -> float:
    """Return the rate of pass `number` in cycles of 1, 2, 4, … passes, each from `most` down towards `least`."""
    length = 1 << ((number + 1).bit_length() - 1)
    return least + (most - least) * (1 + math.cos(math.pi * (number + 1 - length) / length)) / 2
