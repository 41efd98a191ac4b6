"""Learning without forgetting: to new samples the network goes on answering what it answered before.

Source: Li & Hoiem 2016 (arXiv 1606.09282), eq. 1-3.

    L(θ) - strength Σ_k 1/B Σ_n Σ_c p_kc(x_n) log q_kc(x_n),  p, q = softmax(logits of k / temperature) before and now

k are the tasks that ended, each with its own head or classes, where the task is told. Elsewhere there is one k, all labels met in
tasks that ended; new ones do not compete in it.

Told    when a task ends; whose a sample is, where the scenario tells it.
Stored  the previous network, one network's worth; no sample.
Cost    a forward pass of the previous network a step, and a head's a task.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.former import Former
from nlbench.learners.gradient import GradientLearner, cross_entropy
from nlbench.learners.penalties.config import LwfConfig
from nlbench.networks.network import Tree


class Lwf(GradientLearner):
    """Distils from the network as it was when the last task ended."""

    needs: ClassVar[tuple[str, ...]] = ("boundaries",)

    def __init__(self, config: LwfConfig, problem: Problem) -> None:
        self._strength, self._temperature = config.strength, config.temperature
        self.former = Former()
        self.met = torch.zeros(len(problem.seeds), problem.n_classes, dtype=torch.bool, device=problem.device)
        """(S, C): labels met, where the task is told in the present one only."""
        self.task: int | None = None
        self.old: dict[int | None, Tensor] = {}
        """What is distilled when a task has ended: its classes (S, C), or those of all together."""
        self.ended: list[int | None] = []
        """The tasks that ended; where the task is not told, None for all."""
        super().__init__(config, problem)

    def take_in(self, parameters: Tree) -> None:
        super().take_in(parameters)
        self.former.take_in(parameters, self.state)

    def observe(self, batch: Batch) -> Tensor:
        if batch.task not in self.old:
            self.old[batch.task] = torch.zeros_like(self.met)
        return super().observe(batch)

    def phase(self) -> Hashable:
        return len(self.ended)

    def loss(self, batch: Batch) -> Tensor:
        if not self._strength or not self.former.there:
            return super().loss(batch)
        features = self.features(batch.inputs, self.parameters, training=True)
        with torch.no_grad(), self._rounded():
            before, _ = self.network.apply(self.former.parameters, self.former.state, batch.inputs, training=False)
        losses = cross_entropy(self._answer(self.parameters, features, batch.task), batch.labels, batch.classes)
        for task in self.ended:
            now, then = (self._answer(*of, task) for of in ((self.parameters, features), (self.former.parameters, before)))
            losses = losses + self._strength * distillation(now, then.detach(), self.old[task], self._temperature)
        return losses

    def after_step(self, batch: Batch) -> None:
        self.met.scatter_(1, batch.labels, True)
        self.task = batch.task

    @torch.no_grad()
    def end_task(self) -> None:
        self.old[self.task].copy_(self.met)
        if self.task not in self.ended:
            self.ended.append(self.task)
        if self.task is not None:
            self.met.zero_()
        self.former.keep(self.parameters, self.state)

    def _answer(self, parameters: Tree, features: Tensor, task: int | None) -> Tensor:
        with self._rounded():
            return self.head.logits(parameters, features, task).float()

    def held(self) -> list[Tensor]:
        return [*super().held(), *self.former.held(), *self.old.values()]


def distillation(now: Tensor, then: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Return the mean cross-entropy (S,) of answers `now` to those of `then`, logits (S, B, C), over classes (S, C)."""
    apart = ~classes[:, None]
    targets = (then / temperature).masked_fill(apart, -torch.inf).softmax(-1)
    shares = (now / temperature).masked_fill(apart, -torch.inf).log_softmax(-1).masked_fill(apart, 0.0)
    return -(targets * shares).sum(-1).mean(1)
