"""L2 Init: weights that the loss does not hold drift back to where they started, from where they learn as at first.

Source: Kumar, Marklund & Van Roy 2023 (arXiv 2308.11958), section 3.

    L(θ) + strength ‖θ - θ_0‖²

Told    nothing.
Stored  θ_0, one network's worth.
Cost    two passes over the weights a step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.batch import Problem
from nlbench.learners.plasticity.config import L2InitConfig
from nlbench.learners.plasticity.magnitude import Measured
from nlbench.networks.network import Tree


class L2Init(Measured):
    """Adds the gradient of the distance from the initial weights. `observe` returns the loss without it."""

    def __init__(self, config: L2InitConfig, problem: Problem) -> None:
        self._pull = 2 * config.strength
        self.start: Tree = {}
        super().__init__(config, problem)

    def take_in(self, parameters: Tree) -> None:
        super().take_in(parameters)
        self.start.update({name: value.detach().clone() for name, value in parameters.items()})

    def adjust(self, gradients: Tree) -> Tree:
        ways = torch._foreach_sub([self.parameters[name] for name in gradients], [self.start[name] for name in gradients])
        pulled = torch._foreach_add(list(gradients.values()), ways, alpha=self._pull)
        return dict(zip(gradients, pulled, strict=True))

    def held(self) -> list[Tensor]:
        return [*super().held(), *self.start.values()]
