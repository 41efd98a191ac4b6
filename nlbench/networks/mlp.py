"""Fully connected layers with ReLU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from nlbench.batch import Problem
from nlbench.networks import initial, layers
from nlbench.networks.config import MlpConfig
from nlbench.networks.network import Network, Taps, Tree


class Mlp(Network):
    """Layers `layer0`, `layer1`, …; with a head on it, it starts as the learner of kind "mlp" does."""

    def __init__(self, config: MlpConfig, problem: Problem) -> None:
        self._widths = (problem.n_inputs, *config.hidden)
        self.spread = config.spread
        self._device = problem.device
        self.width = self._widths[-1]
        self.head = f"layer{len(config.hidden)}"

    def initial(self, seeds: Sequence[int]) -> tuple[Tree, Tree]:
        parameters: Tree = {}
        for i, (d_in, d_out) in enumerate(pairwise(self._widths)):
            parameters |= initial.linear(seeds, f"layer{i}", d_in, d_out, spread=self.spread)
        return {name: value.to(self._device) for name, value in parameters.items()}, {}

    def apply(
        self, parameters: Tree, state: Tree, inputs: Tensor, *, training: bool, taps: Taps | None = None
    ) -> tuple[Tensor, Tree]:
        x = inputs.flatten(2)
        for i in range(len(self._widths) - 1):
            x = layers.linear(parameters, f"layer{i}", x, taps).relu()
        return x, state
