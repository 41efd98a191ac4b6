"""A quadratic penalty on weights that leave where they were: what EWC, MAS, SI and RWalk share.

    L(θ) + strength Σ_i Ω_i (θ_i - θ*_i)²

Stored: importances Ω and means θ*, two networks' worth, whatever the number of tasks. Cost: two passes over the weights a step.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nlbench.batch import Problem
from nlbench.learners.gradient import GradientLearner
from nlbench.learners.penalties.config import PenaltyConfig
from nlbench.networks.network import Tree


class QuadraticPenalty(GradientLearner):
    """Adds the penalty's gradient, factor · strength · Ω (θ - θ*), to the loss's. `observe` returns the loss without the penalty.

    A subclass finds a task's importances in `end_task` and gives them to `consolidate`.
    """

    needs: ClassVar[tuple[str, ...]] = ("boundaries",)
    factor: ClassVar[float] = 2.0
    """Of the penalty's gradient: 1 where a paper halves the penalty."""

    def __init__(self, config: PenaltyConfig, problem: Problem) -> None:
        self._pull = self.factor * config.strength
        self.importances: Tree = {}
        self.means: Tree = {}
        super().__init__(config, problem)

    def take_in(self, parameters: Tree) -> None:
        super().take_in(parameters)
        for name, value in parameters.items():
            self.importances[name] = torch.zeros_like(value)
            self.means[name] = value.detach().clone()

    def adjust(self, gradients: Tree) -> Tree:
        # in place: fresh tensors of a network's size cost more than the sums
        importances = [self.importances[name] for name in gradients]
        torch._foreach_addcmul_(list(gradients.values()), importances, self.moved(gradients), value=self._pull)
        return gradients

    def moved(self, names: Tree) -> list[Tensor]:
        """Return θ - θ* of the named parameters."""
        return list(torch._foreach_sub([self.parameters[name] for name in names], [self.means[name] for name in names]))

    @torch.no_grad()
    def consolidate(self, found: Tree, *, keep: float = 1.0) -> None:
        """Let a task end with these importances: Ω ← keep Ω + found, θ* ← θ. Where nothing is found, nothing is added."""
        for name, importance in self.importances.items():
            importance.mul_(keep)
            if name in found:
                importance.add_(found[name])
            self.means[name].copy_(self.parameters[name])

    def held(self) -> list[Tensor]:
        return [*super().held(), *self.importances.values(), *self.means.values()]
