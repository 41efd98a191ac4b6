"""A classifier of two parameters whose margin is how far down a curved valley they have come: optimizers raced on eq. 53.

Source: Behrouz et al. 2025 (arXiv 2512.24695), eq. 53 and Fig. 4, from (-3.5, 2); the constants are ours, as the paper has none.

    ψ(r, θ) = r² + curvature (r - θ + bend sin(frequency r))²,    margin = reached - ψ

A sample is -1 or 1, its class the sign, and its logits ± margin / 2: all are right once ψ is below `reached`, none before. The
cross-entropy is log(1 + exp(-margin)), whose slope far from the floor is that of ψ. So accuracy over samples as they come, each
before it is learned, is the share of steps that the floor had been reached for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nlbench import seeds as draws
from nlbench.batch import Problem
from nlbench.errors import NlbenchError
from nlbench.networks.config import ValleyConfig
from nlbench.networks.network import Network, Taps, Tree

START: tuple[float, float] = (-3.5, 2.0)


class Valley(Network):
    """One matrix `place`, (S, 1, 2): r and θ. Each seed starts a little beside the paper's start."""

    taps = None
    returns_logits = True
    width = 2

    def __init__(self, config: ValleyConfig, problem: Problem) -> None:
        if problem.n_classes != 2:
            raise NlbenchError(
                f"network 'valley' tells two classes apart, got {problem.n_classes}.", "Use stream instances-sides."
            )
        self._config, self._device = config, problem.device

    def initial(self, seeds: Sequence[int]) -> tuple[Tree, Tree]:
        beside = torch.from_numpy(draws.normal(tuple(seeds), "init/valley", (1, 2)))
        return {"place": (torch.tensor(START) + self._config.spread * beside).float().to(self._device)}, {}

    def apply(
        self, parameters: Tree, state: Tree, inputs: Tensor, *, training: bool, taps: Taps | None = None
    ) -> tuple[Tensor, Tree]:
        signed = inputs.flatten(2)[..., :1] * self.margin(parameters["place"]) / 2
        return torch.cat([-signed, signed], -1), state

    def margin(self, place: Tensor) -> Tensor:
        """Return reached - ψ of places (S, 1, 2), (S, 1, 1)."""
        config, (r, theta) = self._config, place.split(1, -1)
        bent = r - theta + config.bend * torch.sin(config.frequency * r)
        return config.reached - r.square() - config.curvature * bent.square()
