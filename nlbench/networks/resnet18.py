"""ResNet-18 for small images: a 3x3 stem and no pooling before the blocks.

Source: He et al. 2016 (arXiv 1512.03385), table 1 and section 4.2; `width` 20 as in GEM (Lopez-Paz & Ranzato 2017, appendix).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

import torch
from torch import Tensor

from nlbench.batch import Problem
from nlbench.networks import convolving, initial, layers
from nlbench.networks.config import Resnet18Config
from nlbench.networks.network import Network, Taps, Tree, image_shape

WIDE: Final = 64
"""From this width on cuDNN makes the gradients of weights: on an H200 windows gained at width 20 and lost at 64."""


class Block(NamedTuple):
    """Two convolutions and a way around them, which is a convolution of its own where shapes differ."""

    name: str
    c_in: int
    c_out: int
    stride: int

    @property
    def reshapes(self) -> bool:
        """Whether the way around needs a convolution."""
        return self.stride > 1 or self.c_in != self.c_out


class Resnet18(Network):
    """Parameters and statistics bear torchvision's names. Filters start as in He et al. 2015 (fan out), norms at 1 and 0."""

    def __init__(self, config: Resnet18Config, problem: Problem) -> None:
        self._image = image_shape(problem, config.kind)
        self._config = config
        self._device = problem.device
        gpu, bf16 = problem.device.type == "cuda", problem.precision == "bf16"
        # where tensor cores take them, images whose channels lie last are up to twice as fast, one seed's alone; elsewhere slower
        self._channels_last = gpu and bf16 and config.width % 8 == 0
        self._im2col = gpu and not bf16 and config.width < WIDE
        sizes = [config.width * 2**i for i in range(4)]
        self._blocks = [
            Block(f"layer{i + 1}.{j}", sizes[max(i - 1 + j, 0)], sizes[i], 2 if i and not j else 1)
            for i in range(4)
            for j in range(2)
        ]
        self.width = sizes[-1]

    def _layers(self) -> Iterator[tuple[str, str, int, int, int]]:
        """Yield the name of each convolution and of the norm after it, channels in and out, side of the filters."""
        yield "conv1", "bn1", self._image[0], self._config.width, 3
        for name, c_in, c_out, stride in self._blocks:
            yield f"{name}.conv1", f"{name}.bn1", c_in, c_out, 3
            yield f"{name}.conv2", f"{name}.bn2", c_out, c_out, 3
            if Block(name, c_in, c_out, stride).reshapes:
                yield f"{name}.downsample.0", f"{name}.downsample.1", c_in, c_out, 1

    def initial(self, seeds: Sequence[int]) -> tuple[Tree, Tree]:
        parameters, state, count = {}, {}, len(seeds)
        for name, norm, c_in, c_out, side in self._layers():
            std = (2 / (c_out * side**2)) ** 0.5
            parameters[f"{name}.weight"] = initial.normal(seeds, name, (c_out, c_in, side, side), std)
            parameters[f"{norm}.weight"] = torch.ones(count, c_out)
            parameters[f"{norm}.bias"] = torch.zeros(count, c_out)
            if self._config.norm == "batch":
                state[f"{norm}.running_mean"] = torch.zeros(count, c_out)
                state[f"{norm}.running_var"] = torch.ones(count, c_out)
        parameters, state = ({name: value.to(self._device) for name, value in tree.items()} for tree in (parameters, state))
        return parameters, state

    def apply(
        self, parameters: Tree, state: Tree, inputs: Tensor, *, training: bool, taps: Taps | None = None
    ) -> tuple[Tensor, Tree]:
        seeds = len(parameters["conv1.weight"])
        if self._channels_last and taps is None and seeds > 1:
            features, moved = convolving.seeds_apart(partial(self.apply, training=training), parameters, state, inputs)
            return features, moved if training else state
        after: Tree = {}

        def convolved(x: Tensor, name: str, norm: str, stride: int, padding: int) -> Tensor:
            if self._im2col and taps is None:
                x = convolving.convolution(x, parameters[f"{name}.weight"], stride=stride, padding=padding)
            else:
                x = layers.convolution(parameters, name, x, taps, stride=stride, padding=padding)
            if self._config.norm == "group":
                return layers.group_norm(parameters, norm, x, taps, groups=self._config.groups)
            x, moved = layers.batch_norm(parameters, state, norm, x, taps, training=training)
            after.update(moved)
            return x

        x = layers.seeds_in_channels(inputs.reshape(*inputs.shape[:2], *self._image), seeds)
        if self._channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        x = convolved(x, "conv1", "bn1", 1, 1).relu()
        for block in self._blocks:
            inside = convolved(x, f"{block.name}.conv1", f"{block.name}.bn1", block.stride, 1).relu()
            inside = convolved(inside, f"{block.name}.conv2", f"{block.name}.bn2", 1, 1)
            if block.reshapes:
                x = convolved(x, f"{block.name}.downsample.0", f"{block.name}.downsample.1", block.stride, 0)
            x = (inside + x).relu()
        return layers.seeds_first(x.mean((2, 3)), seeds), after if training else state
