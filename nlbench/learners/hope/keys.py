"""Slow keys: what a memory reads of samples, made once and never changed after the first chunk.

An image is read by filters of its own, W C^p with random W and C the covariance of the first chunk's patches, a large one at two
scales; a vector, of which nobody knows what lies beside what, by random ReLU features. A key has a root mean square of one, and a
constant 1 appended.

Shapes: S seeds, N samples, D_in numbers in a sample, D width of a key without the constant.
Source: random local filters and pooling, Saxe et al. 2011; filters whitened by their patches and patches brought to one contrast,
Coates & Ng 2011; local contrast normalisation and two scales, Jarrett et al. 2009; random ReLU features, Rahimi & Recht 2007.
"""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench import seeds as draws
from nlbench.batch import Problem
from nlbench.errors import DataError
from nlbench.learners.hope import sizes
from nlbench.learners.hope.config import HopeConfig

FIRST_FILTERS: Final = 32
FIRST_KERNEL: Final = 5
POOL: Final = 4
"""Side of the windows, two apart, whose mean a first layer's maps are."""
NEAR: Final = 0.25
"""Share of the filters that read the image itself; the others read the first layer's maps."""
CONTRAST: Final = 0.01
"""Added to the variance within a patch, in that of all pixels, before it is brought to one contrast."""
ALONE: Final = -0.5
"""Power p of the only layer, which whitens: what varies little is read as loudly as what varies much."""
BELOW: Final = 0.25
"""Power of what reads a large image: it smooths."""
ABOVE: Final = -0.1
"""Power of what reads the first layer's maps."""
BIAS: Final = 0.5
"""Standard deviation of the biases of random features, in theirs."""
LEAST_VARIANCE: Final = 0.01
"""Of the mean variance of patches, added to every direction."""
LONGEST: Final = 1e15
"""Numbers of the first chunk at most: squares of what is made of far longer ones exceed float32, and keys would all read 0."""


class Keys:
    """Makes keys (S, N, D + 1) of samples.

    width    D + 1, or of several groups of features, each with a constant of its own, all their numbers
    groups   how many there are
    tensors  its state
    """

    width: int
    groups = 1
    tensors: list[Tensor]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the keys (S, N, D + 1) of inputs (1 or S, N, D_in)."""
        seeds = range(len(self.tensors[0]))
        return torch.stack([self.of_seed(seed, inputs[min(seed, len(inputs) - 1)]) for seed in seeds])

    def of_seed(self, seed: int, inputs: Tensor) -> Tensor:
        """Return the keys (N, D + 1) of one seed, for inputs (N, D_in)."""
        raise NotImplementedError

    def fit(self, inputs: Tensor) -> None:
        """Take in the first chunk (S, N, D_in), once, before any key is made. Raises `DataError` where it is far too long."""
        longest = float(inputs.abs().amax())
        if longest > LONGEST:
            raise DataError(f"hope: inputs of the first batch reach {longest:g}.", "Standardise them.")


class RandomFeatures(Keys):
    """relu(W x + b) with W of N(0, 1 / D_in), in groups of `width` features."""

    def __init__(self, groups: int, width: int, problem: Problem) -> None:
        n = problem.n_inputs
        self.groups, self.width = groups, groups * (width + 1)
        width *= groups
        self.tensors = [_normal(problem, "weight", (width, n)) * n**-0.5, _normal(problem, "bias", (width,)) * BIAS]

    def __call__(self, inputs: Tensor) -> Tensor:
        weight, bias = self.tensors
        return finished(torch.baddbmm(bias[:, None], inputs.expand(len(weight), -1, -1), weight.mT), self.groups)

    def of_seed(self, seed: int, inputs: Tensor) -> Tensor:
        weight, bias = self.tensors
        return finished(torch.addmm(bias[seed], inputs, weight[seed].T), self.groups)

    def permute_inputs(self, order: Tensor) -> None:
        """Reorder the inputs, order (S, D_in), in place."""
        weight = self.tensors[0]
        weight.copy_(weight.gather(2, order[:, None].expand_as(weight)))


class Filters(Keys):
    """One layer of filters, then ReLU, read at 3 x 3 places."""

    def __init__(self, config: HopeConfig, number: int, problem: Problem) -> None:
        *before, self._height, self._width = problem.input_shape
        self._config, self.width = config, number * sizes.GRID**2 + 1
        self.tensors = self._drawn(number, math.prod(before), min(self._height, self._width), problem)

    def _drawn(self, number: int, channels: int, side: int, problem: Problem) -> list[Tensor]:
        """Return the filters, each (S, number, channels, k, k)."""
        return [_filters(problem, "last", number, channels, sizes.kernel(side))]

    def of_seed(self, seed: int, inputs: Tensor) -> Tensor:
        (filters,) = self.tensors
        return finished(at_places(F.conv2d(self._images(inputs), filters[seed]).relu_()))

    def fit(self, inputs: Tensor) -> None:
        super().fit(inputs)
        if self._config.filters:
            for seed, own in enumerate(inputs):
                self._turn(seed, self._images(own))

    def _turn(self, seed: int, images: Tensor) -> None:
        """Turn a seed's filters into the metric of what they read of images (N, channels, h, w)."""
        turn(self.tensors[0][seed], images, ALONE)

    def _images(self, inputs: Tensor) -> Tensor:
        return inputs.unflatten(-1, (-1, self._height, self._width))


class TwoScales(Filters):
    """Filters of images whose patches are brought to one contrast, some read at 3 x 3 places, others pooled and read there by a
    second layer: both at a root mean square of one.
    """

    def _drawn(self, number: int, channels: int, side: int, problem: Problem) -> list[Tensor]:
        near = round(NEAR * number)
        second = _filters(problem, "last", number - near, FIRST_FILTERS, sizes.kernel((side - FIRST_KERNEL + 1) // 2))
        return [
            _filters(problem, "first", FIRST_FILTERS, channels, FIRST_KERNEL),
            second - second.mean((-2, -1), keepdim=True),
            _filters(problem, "near", near, channels, FIRST_KERNEL),
        ]

    def of_seed(self, seed: int, inputs: Tensor) -> Tensor:
        first, second, near = (filters[seed] for filters in self.tensors)
        maps = self._read(self._images(inputs), torch.cat([first, near]))
        far = F.conv2d(pooled(maps[:, : len(first)]), second).relu_()
        return finished(torch.cat([normed(at_places(own)) for own in (far, maps[:, len(first) :])], 1))

    def _turn(self, seed: int, images: Tensor) -> None:
        first, second, near = (filters[seed] for filters in self.tensors)
        turn(first, images, BELOW)
        turn(near, images, BELOW)
        turn(second, pooled(self._read(images, first)), ABOVE)

    def _read(self, images: Tensor, filters: Tensor) -> Tensor:
        """Return what filters answer to patches of images, each at one contrast if that is asked for, rectified."""
        answers = F.conv2d(images, filters)
        if self._config.contrast:
            mean, spread = contrast(images, filters.shape[-1])
            answers.sub_(mean * filters.sum((1, 2, 3))[:, None, None]).div_(spread)
        return answers.relu_()


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
        width = config.width or sizes.width(kind, math.prod(problem.input_shape[-2:]))
        small = min(problem.input_shape[-2:]) <= sizes.SMALL
        return (Filters if small else TwoScales)(config, round(width / sizes.GRID**2), problem)
    levels = config.levels and sizes.has_levels(kind, problem.n_inputs, problem.scenario)
    width = config.width or (sizes.BESIDE_LEVELS if levels else sizes.width(kind, problem.n_inputs))
    groups = sizes.groups(kind) if config.groups else 1
    return RandomFeatures(groups, sizes.in_groups(width, groups), problem)


def finished(features: Tensor, groups: int = 1) -> Tensor:
    """Return the keys (..., D + 1) of features (..., D): rectified, and by group at a root mean square of one and with a constant
    1 appended.
    """
    rectified = normed(features.relu_().unflatten(-1, (groups, -1)))
    return torch.cat([rectified, torch.ones_like(rectified[..., :1])], -1).flatten(-2)


def normed(features: Tensor) -> Tensor:
    """Return features (..., D) at a root mean square of one."""
    return features * (features.square().mean(-1, keepdim=True) + 1e-24).rsqrt()


def at_places(maps: Tensor) -> Tensor:
    """Return maps (N, F, h, w) read at 3 x 3 places, (N, 9 F), map by map."""
    return F.adaptive_avg_pool2d(maps, sizes.GRID).flatten(1)


def pooled(maps: Tensor) -> Tensor:
    """Return the means of windows of maps (N, F, h, w), beyond whose edges is nothing: (N, F, h / 2, w / 2), rounded down."""
    return F.avg_pool2d(maps, POOL, 2, padding=POOL // 2 - 1)


def contrast(images: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return mean and spread of every patch of images (N, channels, h, w), all channels together, (N, 1, rows, columns)."""
    mean, square = (F.avg_pool2d(own.mean(1, keepdim=True), side, 1) for own in (images, images.square()))
    return mean, (square - mean.square()).clamp_min(0).add(CONTRAST).sqrt()


def turn(filters: Tensor, maps: Tensor, power: float) -> None:
    """Multiply filters (F, channels, k, k) by C^power, in place: C the covariance of the patches of maps (N, channels, h, w)
    around their mean, with a hundredth of its mean variance added.
    """
    patches = F.unfold(maps, filters.shape[-1]).transpose(1, 2).flatten(0, 1).double()
    centred = patches - patches.mean(0)
    covariance = centred.mT @ centred / len(patches)
    covariance.diagonal().add_(LEAST_VARIANCE * covariance.diagonal().mean() + 1e-12)
    values, vectors = torch.linalg.eigh(covariance)
    turned = filters.flatten(1).double() @ (vectors * values.clamp_min(1e-12) ** power) @ vectors.mT
    filters.copy_(turned.view_as(filters))


def _filters(problem: Problem, name: str, number: int, channels: int, side: int) -> Tensor:
    """Return random filters (S, number, channels, side, side) of N(0, 1 / side^2)."""
    return _normal(problem, name, (number, channels, side, side)) / side


def _normal(problem: Problem, name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(draws.normal(problem.seeds, f"init/keys.{name}", shape)).to(problem.device)
