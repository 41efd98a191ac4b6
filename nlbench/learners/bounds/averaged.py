"""Plain fine-tuning that answers by an average of all its weights so far, late ones counting most.

A constant rate ends anywhere around a minimum, now and then far from it; the average ends near its middle, as a falling rate
would, and needs not know how many steps are to come. That is what a bound asks for, whose rows are of ever more steps.

Source: Shamir & Zhang 2013 (arXiv 1212.1824), section 4: polynomial-decay averaging with η = `power`.

    θ̄_t = (1 - (η + 1) / (t + η)) θ̄_(t-1) + (η + 1) / (t + η) θ_t

About the last 1 / (η + 1) of the steps count.

Told    nothing.
Stored  θ̄, one network's worth.
Cost    a pass over the weights a step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.batch import Problem
from nlbench.errors import NlbenchError
from nlbench.learners.bounds.config import AveragedConfig
from nlbench.learners.gradient import GradientLearner
from nlbench.networks.network import Taps, Tree


class Averaged(GradientLearner):
    """Moves θ and is measured at θ̄. A network whose normalisation belongs to θ, such as batch norm, is refused."""

    def __init__(self, config: AveragedConfig, problem: Problem) -> None:
        """Raises `NlbenchError` where the network keeps statistics: they are not those of the average."""
        self._power = config.power
        self.average: Tree = {}
        self.taken: Tree = {}
        """How often each parameter was moved: on the device, so that a captured step counts too, and of a later head its own."""
        super().__init__(config, problem)
        if self.state:
            raise NlbenchError(
                f"learner.network keeps statistics, which are not those of averaged weights: "
                f"{', '.join(sorted(self.state)[:3])} …",
                'Set learner.network.norm = "group" where the network has a norm to choose, or learner.kind = "naive".',
            )

    def take_in(self, parameters: Tree) -> None:
        super().take_in(parameters)
        self.average.update({name: value.detach().clone() for name, value in parameters.items()})
        self.taken.update({name: torch.zeros((), device=value.device) for name, value in parameters.items()})

    def move(self, gradients: Tree) -> None:
        super().move(gradients)
        for name in gradients:
            self.taken[name] += 1
            share = (self._power + 1) / (self.taken[name] + self._power)
            self.average[name].lerp_(self.parameters[name].detach(), share)

    def logits(
        self, inputs: Tensor, task: int | None, *, training: bool, taps: Taps | None = None, parameters: Tree | None = None
    ) -> Tensor:
        measured = self.average if parameters is None and not training else parameters
        return super().logits(inputs, task, training=training, taps=taps, parameters=measured)

    def held(self) -> list[Tensor]:
        return [*super().held(), *self.average.values(), *self.taken.values()]
