"""Synaptic intelligence: weights whose way lowered the loss are held where they are.

Source: Zenke, Poole & Ganguli 2017 (arXiv 1703.04200), eq. 3-5.

    ω_i ← ω_i - g_i Δθ_i                                each step, g the gradient of the loss without the penalty
    Ω_i ← Ω_i + max(0, ω_i) / ((θ_i - θ*_i)² + damping)  when a task ends; then ω ← 0, θ* ← θ
    L(θ) + strength Σ_i Ω_i (θ_i - θ*_i)²

An importance below 0 would push weights away, so it counts as 0, as in the authors' code.

Told    when a task ends.
Stored  Ω, θ* and ω, three networks' worth; no sample.
Cost    five passes over the weights a step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.batch import Problem
from nlbench.learners.penalties.config import SiConfig
from nlbench.learners.penalties.quadratic import QuadraticPenalty
from nlbench.networks.network import Tree


class Si(QuadraticPenalty):
    """Importances are what weights did for the loss, by how far they went."""

    def __init__(self, config: SiConfig, problem: Problem) -> None:
        self._damping = config.damping
        self.work: Tree = {}
        """ω: what each weight's way did for the loss in the present task."""
        super().__init__(config, problem)

    def take_in(self, parameters: Tree) -> None:
        super().take_in(parameters)
        self.work.update({name: torch.zeros_like(value) for name, value in parameters.items()})

    def move(self, gradients: Tree) -> None:
        before = {name: self.parameters[name].detach().clone() for name in gradients}
        super().move({name: value.clone() for name, value in gradients.items()})  # the penalty is added in place
        add_work(self.work, gradients, before, self.parameters)

    def end_task(self) -> None:
        names = list(self.work)
        with torch.no_grad():
            ways = self.moved(self.work)
            found = {
                name: self.work[name].clamp(min=0) / (way.square() + self._damping) for name, way in zip(names, ways, strict=True)
            }
        self.consolidate(found)
        torch._foreach_zero_(list(self.work.values()))

    def held(self) -> list[Tensor]:
        return [*super().held(), *self.work.values()]


def add_work(work: Tree, gradients: Tree, before: Tree, after: Tree) -> None:
    """Let ω ← ω - g Δθ, in place; `before` becomes -Δθ."""
    ways = list(before.values())
    torch._foreach_sub_(ways, [after[name] for name in before])
    torch._foreach_addcmul_([work[name] for name in gradients], list(gradients.values()), ways)
