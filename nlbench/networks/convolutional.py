"""A small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor

from nlbench.batch import Problem
from nlbench.networks import initial, layers
from nlbench.networks.config import ConvolutionalConfig
from nlbench.networks.network import Network, Taps, Tree, image_shape


class Convolutional(Network):
    """Layers `convolution0`, `convolution1`, …: 3x3 filters, ReLU, the maximum of 2x2 as long as there are that many pixels.

    Filters start uniform with variance 2 / fan-in (He et al. 2015, eq. 10), so that signals keep their size through ReLU.
    """

    def __init__(self, config: ConvolutionalConfig, problem: Problem) -> None:
        self._image = image_shape(problem, config.kind)
        channels, height, width = self._image
        self._channels = (channels, *config.channels)
        self._device = problem.device
        for _ in config.channels:
            height, width = (height // 2, width // 2) if min(height, width) > 1 else (height, width)
        self.width = config.channels[-1] * height * width

    def initial(self, seeds: Sequence[int]) -> tuple[Tree, Tree]:
        parameters: Tree = {}
        for i, (c_in, c_out) in enumerate(pairwise(self._channels)):
            parameters |= initial.uniform(seeds, f"convolution{i}", (c_out, c_in, 3, 3), (6 / (9 * c_in)) ** 0.5)
        return {name: value.to(self._device) for name, value in parameters.items()}, {}

    def apply(
        self, parameters: Tree, state: Tree, inputs: Tensor, *, training: bool, taps: Taps | None = None
    ) -> tuple[Tensor, Tree]:
        seeds = len(parameters["convolution0.weight"])
        x = layers.seeds_in_channels(inputs.reshape(*inputs.shape[:2], *self._image), seeds)
        for i in range(len(self._channels) - 1):
            x = layers.convolution(parameters, f"convolution{i}", x, taps).relu()
            x = F.max_pool2d(x, 2) if min(x.shape[2:]) > 1 else x
        return layers.seeds_first(x, seeds).flatten(2), state
