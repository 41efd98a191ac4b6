"""Shrink and perturb: before a new task, weights shrink towards nothing and noise is added.

Source: Ash & Adams 2020 (arXiv 1910.08475), section 4, eq. 1.

    θ ← keep θ + p,  p ~ N(0, noise²)

It happens as the first batch after a task's end comes, so that what was learned is measured before.

Told    when a task ends.
Stored  nothing.
Cost    a draw of all weights a task.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nlbench import seeds
from nlbench.batch import Batch, Problem
from nlbench.learners.plasticity.config import ShrinkAndPerturbConfig
from nlbench.learners.plasticity.magnitude import Measured


class ShrinkAndPerturb(Measured):
    """Draws are named by the number of tasks that ended and by parameter."""

    needs: ClassVar[tuple[str, ...]] = ("boundaries",)

    def __init__(self, config: ShrinkAndPerturbConfig, problem: Problem) -> None:
        self._keep, self._noise = config.keep, config.noise
        self.ended = 0
        self.due = False
        super().__init__(config, problem)

    def observe(self, batch: Batch) -> Tensor:
        if self.due:
            self._renew()
            self.due = False
        return super().observe(batch)

    def end_task(self) -> None:
        self.ended += 1
        self.due = True

    @torch.no_grad()
    def _renew(self) -> None:
        for name, value in self.parameters.items():
            drawn = seeds.normal(self._problem.seeds, f"learner/perturb/{self.ended}/{name}", value.shape[1:])
            value.mul_(self._keep).add_(torch.from_numpy(drawn).to(value.device), alpha=self._noise)
