"""PackNet: each task prunes what it trained, keeps what is left for good, and the next ones train what became free.

Source: Mallya & Lazebnik 2018 (arXiv 1711.05769), section 3.

    train the free weights, with those of earlier tasks in place but still    `prune_after` steps
    of each layer's free weights, the `pruned` share of least |θ| becomes 0 and stays free; the others are the task's for good
    retrain those alone for the rest of the task; at test, task k has the weights of tasks 1…k, and 0 elsewhere

Biases, norms and running statistics stay as they were when the first task was pruned. The paper
trains for epochs and then retrains for half as many on the same samples; in one pass, later samples of the task retrain. A task
that ends before it was pruned is pruned then.

Told    when a task ends, and whose a sample is, also at test.
Stored  the number of its task for each weight, a byte; a head a task.
Cost    three passes over the weights a step.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.errors import NlbenchError
from nlbench.learners.gradient import GradientLearner
from nlbench.learners.heads import LAYER
from nlbench.learners.isolation.config import PackNetConfig
from nlbench.networks.network import Taps, Tree


class PackNet(GradientLearner):
    """Weights are parameters of a network with two axes or more a seed."""

    needs: ClassVar[tuple[str, ...]] = ("boundaries", "task")

    def __init__(self, config: PackNetConfig, problem: Problem) -> None:
        self._pruned, self._prune_after = config.pruned, config.prune_after
        self.owners: Tree = {}
        """uint8 as each weight: 0 while it is free, k of the k-th task met."""
        self.places: dict[int | None, int] = {}
        """k of each task."""
        self.task: int | None = None
        self.steps = 0
        """Of the present task."""
        self.packed = 0
        """Tasks that were pruned: the first ones."""
        super().__init__(config, problem)

    def take_in(self, parameters: Tree) -> None:
        super().take_in(parameters)
        for name, value in parameters.items():
            if value.ndim > 2 and not name.startswith(f"{LAYER}."):
                self.owners[name] = torch.zeros_like(value, dtype=torch.uint8)

    def observe(self, batch: Batch) -> Tensor:
        if batch.task not in self.places:
            self.places[batch.task] = len(self.places) + 1
            if len(self.places) > 255:
                raise NlbenchError(
                    "packnet: a byte a weight tells 255 tasks apart, and there are more.", "Take a shorter stream."
                )
        self.task = batch.task
        return super().observe(batch)

    def phase(self) -> Hashable:
        return self.packed

    def logits(
        self, inputs: Tensor, task: int | None, *, training: bool, taps: Taps | None = None, parameters: Tree | None = None
    ) -> Tensor:
        parameters = self.parameters if parameters is None else parameters
        k = self.places.get(task, 0)
        if 0 < k <= self.packed:
            own = {name: parameters[name] * ((owner > 0) & (owner <= k)) for name, owner in self.owners.items()}
            parameters = {**parameters, **own}
        return super().logits(inputs, task, training=training, taps=taps, parameters=parameters)

    def features(self, inputs: Tensor, parameters: Tree, *, training: bool, taps: Taps | None = None) -> Tensor:
        return super().features(inputs, parameters, training=training and self.packed == 0, taps=taps)

    def move(self, gradients: Tree) -> None:
        k = self.places[self.task]
        before = {name: value.detach().clone() for name, value in self.parameters.items() if not name.startswith(f"{LAYER}.")}
        super().move(gradients)
        for name, value in before.items():
            if name in self.owners:
                moved = self.owners[name] == (k if k <= self.packed else 0)
                self.parameters[name].copy_(torch.where(moved, self.parameters[name], value))
            elif self.packed:
                self.parameters[name].copy_(value)

    def after_step(self, batch: Batch) -> None:
        self.steps += 1
        if self.steps == self._prune_after:
            self._pack()

    def end_task(self) -> None:
        self._pack()
        self.steps = 0

    @torch.no_grad()
    def _pack(self) -> None:
        """Let the present task keep the largest of the free weights, unless it was pruned before."""
        k = self.places[self.task]
        if k <= self.packed:
            return
        for name, owner in self.owners.items():
            weight, free = self.parameters[name].flatten(1), owner.flatten(1) == 0
            sizes = weight.abs().masked_fill(~free, -1.0)
            count = int(free[0].sum())  # of every seed the same
            kept = sizes.topk(count - round(self._pruned * count), 1).indices
            owner.flatten(1).scatter_(1, kept, k)
            weight.masked_fill_(owner.flatten(1) == 0, 0.0)
        self.packed = k

    def held(self) -> list[Tensor]:
        return [*super().held(), *self.owners.values()]
