"""Utility-based perturbed gradient descent: weights of little use learn fast and are perturbed, useful ones are held.

Source: Elsayed & Mahmood 2024 (arXiv 2404.00781), alg. 1 with the first-order utility of eq. 3.

    U ← decay U - (1 - decay) g θ,  Û = U / (1 - decay^t),  ū = sigmoid(Û / max Û)
    θ ← θ - rate (g + ξ) (1 - ū),  ξ ~ N(0, noise²)

The maximum is over the parameters that have a gradient; 1 - decay^t is the same for all, so Û / max Û = U / max U. `optimizer`
makes the step of (g + ξ) (1 - ū); the paper's is plain SGD, with weight decay.

Told    nothing.
Stored  U, one network's worth.
Cost    a normal draw for each weight a step, and eight passes over the weights.
"""

from __future__ import annotations

import torch

from nlbench import seeds
from nlbench.batch import Problem
from nlbench.learners.plasticity.config import UpgdConfig
from nlbench.learners.plasticity.magnitude import Measured
from nlbench.networks.network import Tree


class Upgd(Measured):
    """Draws are named by the step, and made on the host: nothing is captured."""

    captured = False

    def __init__(self, config: UpgdConfig, problem: Problem) -> None:
        self._decay, self._noise = config.decay, config.noise
        self.utilities: Tree = {}
        self.steps = 0
        super().__init__(config, problem)

    def take_in(self, parameters: Tree) -> None:
        super().take_in(parameters)
        self.utilities.update({name: torch.zeros_like(value) for name, value in parameters.items()})

    def adjust(self, gradients: Tree) -> Tree:
        self.steps += 1
        for name, gradient in gradients.items():
            self.utilities[name].mul_(self._decay).addcmul_(gradient, self.parameters[name], value=self._decay - 1)
        most = torch.stack([self.utilities[name].flatten(1).amax(1) for name in gradients]).amax(0)
        most = most.clamp(min=torch.finfo(most.dtype).tiny)
        noise = self._drawn(gradients)
        return {
            name: (gradient + noise[name]) * torch.sigmoid(-self.utilities[name] / most.view(-1, *[1] * (gradient.ndim - 1)))
            for name, gradient in gradients.items()
        }

    def _drawn(self, like: Tree) -> Tree:
        sizes = [value[0].numel() for value in like.values()]
        drawn = torch.from_numpy(seeds.normal(self._problem.seeds, f"learner/upgd/{self.steps}", (sum(sizes),)))
        parts = (self._noise * drawn).to(self._problem.device).split(sizes, dim=1)
        return {name: part.view_as(value) for (name, value), part in zip(like.items(), parts, strict=True)}
