"""A network that starts anew at every task: what a task's own samples teach, and nothing else.

Its learning accuracy is what is to be had from the samples of each task alone: a learner that falls below it has lost plasticity,
and one above it was helped by earlier tasks. What it learned is gone with the first batch of the next task.

Source: "independent" of Lopez-Paz & Ranzato 2017 (arXiv 1706.08840), section 5.2, with one network that is put back.

Told    when a task ends.
Stored  nothing beside its network: the first values are drawn again.
Cost    plain fine-tuning's.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.bounds.config import IndependentConfig
from nlbench.learners.gradient import GradientLearner


class Independent(GradientLearner):
    """The first batch of a task finds parameters, state and slots as they were at first; until it comes, they are measured."""

    needs: ClassVar[tuple[str, ...]] = ("boundaries",)

    def __init__(self, config: IndependentConfig, problem: Problem) -> None:
        self.over = False
        """Whether a task ended and no batch of the next one has come."""
        super().__init__(config, problem)

    def observe(self, batch: Batch) -> Tensor:
        if self.over:
            self._start_anew()
        return super().observe(batch)

    def end_task(self) -> None:
        self.over = True

    @torch.no_grad()
    def _start_anew(self) -> None:
        """Put every tensor back in place: a captured step goes on using them."""
        parameters, state = self.network.initial(self._problem.seeds)
        for own, first in ((self.parameters, parameters | self.head.initial()), (self.state, state)):
            for name, value in first.items():
                own[name].copy_(value)
        for kind, tree in self.optimizer.initial(self.parameters).items():
            for name, value in tree.items():
                self.slots[kind][name].copy_(value)
        self.over = False
