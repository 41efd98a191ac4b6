"""Frozen features: networks that are drawn once and never learn, so that only what stands on them does.

What is drawn is state and no parameter: a learner by gradients trains the head alone, and a method that solves for its read-out
needs no gradient. Shapes: S seeds, B samples, n numbers in a sample, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench import seeds as draws
from nlbench.batch import Problem
from nlbench.errors import NlbenchError
from nlbench.networks import initial, layers
from nlbench.networks.config import InputsConfig, RandomConvolutionConfig, RandomFourierConfig, RandomReluConfig
from nlbench.networks.network import Network, Taps, Tree, image_shape

LAYER: Final = "features"
"""What is drawn is `features.weight` and `features.bias`."""


class Inputs(Network):
    """The inputs, flattened: they are features already, such as those of a pretrained network."""

    def __init__(self, config: InputsConfig, problem: Problem) -> None:
        self.width = problem.n_inputs
        self._seeds = len(problem.seeds)

    def initial(self, seeds: Sequence[int]) -> tuple[Tree, Tree]:
        return {}, {}

    def apply(
        self, parameters: Tree, state: Tree, inputs: Tensor, *, training: bool, taps: Taps | None = None
    ) -> tuple[Tensor, Tree]:
        x = inputs.flatten(2)
        return x.expand(self._seeds, -1, -1) if len(x) == 1 else x, state


class RandomRelu(Network):
    """relu(W x + b) with entries of W from N(0, 1/n) and b from N(0, bias²): of standardised inputs about as large as they are.

    A random hidden layer: Schmidt et al. 1992; Huang et al. 2006. Cost: B n F multiply-adds.
    """

    def __init__(self, config: RandomReluConfig, problem: Problem) -> None:
        self.width, self._bias = config.width, config.bias
        self._n, self._device = problem.n_inputs, problem.device

    def initial(self, seeds: Sequence[int]) -> tuple[Tree, Tree]:
        weight = initial.normal(seeds, LAYER, (self.width, self._n), self._n**-0.5)
        bias = torch.tensor(draws.normal(seeds, f"init/{LAYER}.bias", (self.width,))) * self._bias
        return {}, _on(self._device, weight, bias)

    def apply(
        self, parameters: Tree, state: Tree, inputs: Tensor, *, training: bool, taps: Taps | None = None
    ) -> tuple[Tensor, Tree]:
        return layers.linear(state, LAYER, inputs.flatten(2)).relu(), state


class RandomFourier(Network):
    """√(2/F) cos(W x + b) with entries of W from N(0, 2 γ / n) and b uniform in [0, 2π): inner products of features are, in
    expectation, the kernel exp(-γ |x - y|² / n) of the inputs.

    Source: Rahimi & Recht 2007, algorithm 1. Cost: B n F multiply-adds.
    """

    def __init__(self, config: RandomFourierConfig, problem: Problem) -> None:
        self.width, self._gamma = config.width, config.gamma
        self._n, self._device = problem.n_inputs, problem.device

    def initial(self, seeds: Sequence[int]) -> tuple[Tree, Tree]:
        weight = initial.normal(seeds, LAYER, (self.width, self._n), (2 * self._gamma / self._n) ** 0.5)
        bias = torch.tensor(draws.uniform(seeds, f"init/{LAYER}.bias", (self.width,), torch.pi))
        return {}, _on(self._device, weight, bias)

    def apply(
        self, parameters: Tree, state: Tree, inputs: Tensor, *, training: bool, taps: Taps | None = None
    ) -> tuple[Tensor, Tree]:
        return layers.linear(state, LAYER, inputs.flatten(2)).cos() * (2 / self.width) ** 0.5, state


class RandomConvolution(Network):
    """Random local filters with mean zero, ReLU, and the mean of each of `grid` x `grid` regions: F = filters · grid².

    Source: Saxe et al. 2011; Coates et al. 2011 (one layer, pooled in a grid). Cost: as of the convolution.
    """

    def __init__(self, config: RandomConvolutionConfig, problem: Problem) -> None:
        self._image = image_shape(problem, config.kind)
        self._config, self._device = config, problem.device
        self.width = config.filters * config.grid**2
        least = min(self._image[1:]) - config.size + 1
        if least < config.grid:
            raise NlbenchError(
                f"learner.network: {config.grid} x {config.grid} regions of filters of size {config.size} need images of at"
                f" least {config.size + config.grid - 1} pixels a side, got {self._image[1]} x {self._image[2]}.",
                "Set a smaller network.size or network.grid.",
            )

    def initial(self, seeds: Sequence[int]) -> tuple[Tree, Tree]:
        channels, size, filters = self._image[0], self._config.size, self._config.filters
        weight = initial.normal(seeds, LAYER, (filters, channels, size, size), (channels * size**2) ** -0.5)
        return {}, _on(self._device, weight - weight.mean((2, 3, 4), keepdim=True))

    def apply(
        self, parameters: Tree, state: Tree, inputs: Tensor, *, training: bool, taps: Taps | None = None
    ) -> tuple[Tensor, Tree]:
        seeds = len(state[f"{LAYER}.weight"])
        x = layers.seeds_in_channels(inputs.reshape(*inputs.shape[:2], *self._image), seeds)
        x = layers.convolution(state, LAYER, x, padding=0).relu()
        return layers.seeds_first(F.adaptive_avg_pool2d(x, self._config.grid), seeds).flatten(2), state


def _on(device: torch.device, weight: Tensor, bias: Tensor | None = None) -> Tree:
    drawn = {f"{LAYER}.weight": weight} | ({} if bias is None else {f"{LAYER}.bias": bias})
    return {name: value.to(device) for name, value in drawn.items()}
