"""What methods with stored samples share: a buffer beside the network, and losses over batch and stored samples.

Shapes: S seeds, B samples of a batch, n drawn from the buffer, C logits.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.errors import NlbenchError
from nlbench.learners.buffer import Buffer, Policy
from nlbench.learners.gradient import GradientLearner
from nlbench.learners.replay.config import ReplayConfig
from nlbench.networks.network import Tree


class Rehearsal(GradientLearner):
    """A network that learns each batch with samples of a buffer, which is offered the batch after the step.

    Where the task is told, a stored sample keeps which classes competed when it came.
    """

    def __init__(
        self,
        config: ReplayConfig,
        problem: Problem,
        *,
        policy: Policy = "reservoir",
        groups: str = "labels",
        capacity: int | None = None,
        extras: Mapping[str, Tensor] | None = None,
    ) -> None:
        """`capacity` stands for the config's. Raises `NlbenchError` for a head a task."""
        require_one_head(config, problem)
        self._replayed = config.replayed
        self._told = problem.scenario == "task-il"
        beside = {**told(problem), **(extras or {})}
        self.buffer = Buffer(capacity or config.capacity, problem, policy=policy, groups=groups, extras=beside)
        super().__init__(config, problem)

    def phase(self) -> Hashable:
        return self.buffer.empty

    def held(self) -> list[Tensor]:
        return [*super().held(), *self.buffer.held()]

    def after_step(self, batch: Batch) -> None:
        self.buffer.add(batch.inputs, batch.labels, **self.extras(batch))

    def extras(self, batch: Batch) -> Tree:
        """Return what the buffer stores beside inputs and labels."""
        return {"classes": batch.classes.expand(*batch.labels.shape, -1)} if self._told else {}

    def drawn(self, batch: Batch) -> int:
        """Return n, how many samples are drawn beside a batch."""
        return self._replayed or batch.labels.shape[1]

    def together(self, batch: Batch, old: Tree) -> tuple[Tensor, Tensor]:
        """Return logits (S, B, C) of the batch and (S, n, C) of drawn samples, which pass the network as one batch."""
        logits = self.logits(joined(batch, old).inputs, None, training=True)
        new, drawn = logits.tensor_split([batch.labels.shape[1]], 1)
        return new, drawn


def require_one_head(config: Any, problem: Problem) -> None:
    """Raise `NlbenchError` where samples of several tasks have no head in common."""
    if config.head == "task":
        raise NlbenchError(
            f"learner.head: {config.kind} learns samples of all tasks together, which have no head a task in common.",
            'Use head = "one" or head = "cosine".',
        )


def told(problem: Problem) -> Tree:
    """Return what a buffer stores of the task where it is told: which classes competed."""
    return {"classes": torch.empty(problem.n_classes, dtype=torch.bool)} if problem.scenario == "task-il" else {}


def joined(batch: Batch, old: Tree) -> Batch:
    """Return batch and drawn samples as one batch, whose classes are (C,), or (S, B + n, C) where the task is told."""
    classes = batch.classes
    if "classes" in old:
        classes = torch.cat([classes.expand(*batch.labels.shape, -1), old["classes"]], 1)
    return Batch(torch.cat([batch.inputs, old["inputs"]], 1), torch.cat([batch.labels, old["labels"]], 1), classes, None)


def competing(batch: Batch, old: Tree) -> Tensor:
    """Return the classes that compete for drawn samples, (C,) or (S, n, C): those of now, or where the task is told of then."""
    return old.get("classes", batch.classes)


def surprises(logits: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return the cross-entropy of each sample, (S, B), of logits (S, B, C), over the competing classes (…, C)."""
    shares = torch.where(classes, logits, -torch.inf).log_softmax(-1)
    return -shares.gather(-1, labels[..., None])[..., 0]
