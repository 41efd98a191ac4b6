"""A quadratic penalty whose importances come of samples of the task that ended.

One pass leaves no samples when a task ends, so a bounded number of the present task's are kept until then: a uniform choice,
billed as samples. None of an earlier task is ever kept.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.buffer import Buffer
from nlbench.learners.heads import LAYER
from nlbench.learners.penalties.config import EwcConfig, MasConfig
from nlbench.learners.penalties.per_sample import summed
from nlbench.learners.penalties.quadratic import QuadraticPenalty
from nlbench.networks.network import Taps, Tree

AT_ONCE: Final = 128
"""Samples of a seed that pass the network together."""


class SampledPenalty(QuadraticPenalty):
    """Importances are the mean over the kept samples of a function of their own gradients.

    A subclass says of which outcomes (`outcomes`) and which function (`size`).
    """

    def __init__(self, config: EwcConfig | MasConfig, problem: Problem) -> None:
        self._capacity = config.samples
        self._problem = problem
        self.ended = 0
        """Tasks that ended."""
        self.kept = self._empty()
        self.classes = torch.zeros(problem.n_classes, dtype=torch.bool, device=problem.device)
        """(C,) bool: those that competed in the present task's last batch."""
        self.task: int | None = None
        super().__init__(config, problem)

    def outcomes(self, logits: Tensor) -> Tensor:
        """Return (S, B, K) of the competing logits (S, B, C): what is differentiated, each by itself."""
        raise NotImplementedError

    def size(self, gradient: Tensor) -> Tensor:
        """Return what a gradient counts for, elementwise."""
        raise NotImplementedError

    def after_step(self, batch: Batch) -> None:
        self.kept.add(batch.inputs, batch.labels)
        self.classes, self.task = batch.classes.clone(), batch.task

    def end_task(self) -> None:
        found = self.found()
        self.ended += 1
        self.kept = self._empty()
        self.consolidate(found)

    def found(self) -> Tree:
        """Return the importances of the task that ends: the mean over its kept samples."""
        names = [name for name in self.parameters if not name.startswith(f"{LAYER}.") or self.head.layer(self.task) in name]
        parameters = {name: self.parameters[name] for name in names}
        count = min(self.kept.added, self.kept.capacity)
        inputs = self.kept.at(self.kept.filled.int().topk(count, 1).indices)["inputs"]
        found = {name: torch.zeros_like(value) for name, value in parameters.items()}
        with self._repeated():
            for part in inputs.split(AT_ONCE, dim=1):
                for name, total in self.sums(parameters, part).items():
                    found[name].add_(total, alpha=1 / count)
        return found

    def sums(self, parameters: Tree, inputs: Tensor) -> Tree:
        """Return the sum over inputs (S, B, *input_shape) of what their gradients count for."""
        return summed(self._outcomes, parameters, inputs, self.size)

    def _outcomes(self, parameters: Tree, inputs: Tensor, taps: Taps | None = None) -> Tensor:
        """Return what is differentiated, of a network at rest; `parameters` may be several copies of a seed's after another."""
        copies = len(inputs) // len(self._problem.seeds)
        state = {name: value.repeat_interleave(copies, 0) for name, value in self.state.items()}
        features, _ = self.network.apply(parameters, state, inputs, training=False, taps=taps)
        return self.outcomes(self.head.logits(parameters, features, self.task, taps)[..., self.classes])

    def _empty(self) -> Buffer:
        return Buffer(self._capacity, self._problem, name=f"present-task/{self.ended}")
