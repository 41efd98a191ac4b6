"""Slow keys: what a memory reads of samples, made once and never changed after the first chunk.

An image is read by filters of its own, W C^p with random W and C the covariance of the first chunk's patches; a vector, of which
nobody knows what lies beside what, by random ReLU features. A key has a root mean square of one, and a constant 1 appended.

Shapes: S seeds, N samples, D_in numbers in a sample, D width of a key without the constant.
Source: random local filters and pooling, Saxe et al. 2011; filters whitened by their patches, Coates & Ng 2011; random ReLU
features, Rahimi & Recht 2007.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench import seeds as draws
from nlbench.batch import Problem
from nlbench.learners.hope import sizes
from nlbench.learners.hope.config import HopeConfig

FIRST_FILTERS: Final = 32
FIRST_KERNEL: Final = 5
ALONE: Final = (-0.5,)
"""Power p of the only layer, which whitens: what varies little is read as loudly as what varies much."""
ONE_ABOVE: Final = (0.25, -0.25)
"""Powers of two: the first smooths, as another reads its maps, and the one that is read whitens by half."""
BIAS: Final = 0.5
"""Standard deviation of the biases of random features, in theirs."""
LEAST_VARIANCE: Final = 0.01
"""Of the mean variance of patches, added to every direction."""


class Keys:
    """Makes keys (S, N, D + 1) of samples.

    width    D + 1
    tensors  its state
    """

    width: int
    tensors: list[Tensor]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the keys (S, N, D + 1) of inputs (1 or S, N, D_in)."""
        seeds = range(len(self.tensors[0]))
        return torch.stack([self.of_seed(seed, inputs[min(seed, len(inputs) - 1)]) for seed in seeds])

    def of_seed(self, seed: int, inputs: Tensor) -> Tensor:
        """Return the keys (N, D + 1) of one seed, for inputs (N, D_in)."""
        raise NotImplementedError

    def fit(self, inputs: Tensor) -> None:
        """Take in the first chunk (S, N, D_in), once, before any key is made."""


class RandomFeatures(Keys):
    """relu(W x + b) with W of N(0, 1 / D_in)."""

    def __init__(self, width: int, problem: Problem) -> None:
        n = problem.n_inputs
        self.width = width + 1
        self.tensors = [_normal(problem, "weight", (width, n)) * n**-0.5, _normal(problem, "bias", (width,)) * BIAS]

    def __call__(self, inputs: Tensor) -> Tensor:
        weight, bias = self.tensors
        return finished(torch.baddbmm(bias[:, None], inputs.expand(len(weight), -1, -1), weight.mT))

    def of_seed(self, seed: int, inputs: Tensor) -> Tensor:
        weight, bias = self.tensors
        return finished(torch.addmm(bias[seed], inputs, weight[seed].T))

    def permute_inputs(self, order: Tensor) -> None:
        """Reorder the inputs, order (S, D_in), in place."""
        weight = self.tensors[0]
        weight.copy_(weight.gather(2, order[:, None].expand_as(weight)))


class Filters(Keys):
    """One layer of filters, or two where the image is large, each followed by ReLU and average pooling; the last is read at 3 x 3
    places.
    """

    def __init__(self, config: HopeConfig, width: int, problem: Problem) -> None:
        channels, self._height, self._width = (1, *problem.input_shape)[-3:]
        side, self._own, self.tensors = min(self._height, self._width), config.filters, []
        if side > sizes.SMALL:
            self.tensors.append(_normal(problem, "first", (FIRST_FILTERS, channels, FIRST_KERNEL, FIRST_KERNEL)))
            side, channels = (side - FIRST_KERNEL + 1) // 2, FIRST_FILTERS
        kernel, number = sizes.kernel(side), round(width / sizes.GRID**2)
        self.tensors.append(_normal(problem, "last", (number, channels, kernel, kernel)))
        self.tensors = [_balanced(filters, first=i == 0) for i, filters in enumerate(self.tensors)]
        self.width = number * sizes.GRID**2 + 1

    def of_seed(self, seed: int, inputs: Tensor) -> Tensor:
        maps = self._images(inputs)
        for filters in self.tensors[:-1]:
            maps = F.avg_pool2d(F.conv2d(maps, filters[seed]).relu_(), 2)
        found = F.conv2d(maps, self.tensors[-1][seed]).relu_()
        return finished(F.adaptive_avg_pool2d(found, sizes.GRID).flatten(1))

    def fit(self, inputs: Tensor) -> None:
        if not self._own:
            return
        powers: Sequence[float] = ALONE if len(self.tensors) == 1 else ONE_ABOVE
        for seed, own in enumerate(inputs):
            maps = self._images(own)
            for filters, power in zip(self.tensors, powers, strict=True):
                filters[seed] = in_metric(filters[seed], maps, power)
                maps = F.avg_pool2d(F.conv2d(maps, filters[seed]).relu_(), 2)

    def _images(self, inputs: Tensor) -> Tensor:
        return inputs.unflatten(-1, (-1, self._height, self._width))


def kind_of(problem: Problem) -> sizes.Kind:
    """Return how samples are read. Images are what the stream says are, or, where it says nothing, what has two or three axes;
    those too narrow for a filter are vectors, as sequences are.
    """
    said = problem.sample == "image" or (problem.sample is None and len(problem.input_shape) in (2, 3))
    if said and min(problem.input_shape[-2:]) >= sizes.GRID + 2:
        return "image"
    return "features" if problem.sample == "features" else "vector"


def of_problem(config: HopeConfig, problem: Problem) -> Keys:
    """Return what makes keys of a stream's samples."""
    kind = kind_of(problem)
    if kind == "image":
        return Filters(config, config.width or sizes.width(kind, math.prod(problem.input_shape[-2:])), problem)
    levels = config.levels and sizes.has_levels(kind, problem.n_inputs, problem.scenario)
    return RandomFeatures(config.width or (sizes.BESIDE_LEVELS if levels else sizes.width(kind, problem.n_inputs)), problem)


def finished(features: Tensor) -> Tensor:
    """Return the keys (..., D + 1) of features (..., D): rectified, at a root mean square of one, a constant 1 appended."""
    rectified = features.relu_()
    scale = (rectified.square().mean(-1, keepdim=True) + 1e-24).rsqrt()
    return torch.cat([rectified * scale, torch.ones_like(scale)], -1)


def in_metric(filters: Tensor, maps: Tensor, power: float) -> Tensor:
    """Return filters (F, channels, k, k) times C^power, C the covariance of the patches of maps (N, channels, h, w) around their
    mean, with a hundredth of its mean variance added.
    """
    patches = F.unfold(maps, filters.shape[-1]).transpose(1, 2).flatten(0, 1).double()
    centred = patches - patches.mean(0)
    covariance = centred.mT @ centred / len(patches)
    covariance.diagonal().add_(LEAST_VARIANCE * covariance.diagonal().mean() + 1e-12)
    values, vectors = torch.linalg.eigh(covariance)
    turned = filters.flatten(1).double() @ (vectors * values.clamp_min(1e-12) ** power) @ vectors.mT
    return turned.view_as(filters).to(filters.dtype)


def _balanced(filters: Tensor, *, first: bool) -> Tensor:
    """Return random filters at the scale of their inputs; those of a second layer have mean zero within a kernel."""
    scaled = filters / math.sqrt(filters[0, 0].numel())
    return scaled if first else scaled - scaled.mean((-2, -1), keepdim=True)


def _normal(problem: Problem, name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(draws.normal(problem.seeds, f"init/keys.{name}", shape)).to(problem.device)
