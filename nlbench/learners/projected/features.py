"""Fixed random features: the slowest part of the learner, from which keys are made.

Shapes: S seeds, N samples (or 1 in the seed axis, for inputs that all seeds share), D_in numbers in a sample, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench import seeds as draws
from nlbench.batch import Problem
from nlbench.errors import NlbenchError
from nlbench.learners.projected.config import ConvolutionKeys, InputKeys, RandomKeys
from nlbench.learners.projected.order import permuted_square


class Features:
    """What slow keys are made of inputs by, chunk after chunk, so that a chunk's are what they are alone.

    width    numbers of a slow key
    tensors  state, which may change its shapes
    """

    width: int
    tensors: list[Tensor]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the slow keys (S, N, D) of inputs (1 or S, N, D_in)."""
        raise NotImplementedError

    def of_seed(self, seed: int, inputs: Tensor) -> Tensor:
        """Return the slow keys (N, D) of one seed, for inputs (N, D_in)."""
        raise NotImplementedError

    def of_chunks(self, inputs: Tensor) -> Tensor:
        """Return the slow keys (S, n B, D) of chunks (1 or S, n, B, D_in)."""
        return joined([self(chunk) for chunk in inputs.unbind(1)])

    def gather(self, inputs: Tensor) -> bool:
        """Take in inputs (S, N, D_in); return True when that changed the features."""
        return False


class Inputs(Features):
    """The inputs themselves."""

    def __init__(self, config: InputKeys, problem: Problem) -> None:
        self.width, self.tensors, self._seeds = problem.n_inputs, [], len(problem.seeds)

    def of_seed(self, seed: int, inputs: Tensor) -> Tensor:
        return inputs

    def of_chunks(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1, 2).expand(self._seeds, -1, -1)


class Convolution(Features):
    """Two random convolutions, each with ReLU and average pooling; weights of the second have mean zero within a kernel.

    Random local filters and pooling classify images far better than random dense features of the same number (Saxe et al. 2011).
    """

    def __init__(self, config: ConvolutionKeys, problem: Problem) -> None:
        if len(problem.input_shape) not in (2, 3):
            raise NlbenchError(
                f"keys.kind: a convolution needs images, got inputs of shape {problem.input_shape}.", 'Use keys.kind = "random".'
            )
        channels, self._height, self._width = (1, *problem.input_shape)[-3:]
        self._pools = config.pools
        (first, second), (size, next_size) = config.filters, config.sizes
        side = min(self._height, self._width)
        if side < size or (side - size + 1) // config.pools[0] < next_size:
            raise NlbenchError(
                f"keys.sizes: images of {self._height} x {self._width} are too small for filters of {size} and {next_size}.",
                "Choose smaller keys.sizes and keys.pools.",
            )
        filters = _normal(problem, "first", (first, channels, size, size)) / (channels * size**2) ** 0.5
        next_filters = _normal(problem, "second", (second, first, next_size, next_size)) / (first * next_size**2) ** 0.5
        next_filters -= next_filters.mean((-2, -1), keepdim=True)
        self.tensors = [filters, next_filters]
        self.width = self(torch.zeros(1, 1, problem.n_inputs, device=problem.device)).shape[-1]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the features (S, N, D) of inputs (1 or S, N, D_in), one seed after another: a grouped convolution is slower."""
        return torch.stack([self.of_seed(s, inputs[min(s, len(inputs) - 1)]) for s in range(len(self.tensors[0]))])

    def of_seed(self, seed: int, inputs: Tensor) -> Tensor:
        """Return the features (N, D) of one seed, for inputs (N, D_in)."""
        first, second = (filters[seed] for filters in self.tensors)
        hidden = F.conv2d(inputs.unflatten(-1, (-1, self._height, self._width)), first)
        hidden = F.conv2d(F.avg_pool2d(hidden.relu_(), self._pools[0]), second)
        return unit_scale(F.avg_pool2d(hidden.relu_(), self._pools[1], ceil_mode=True).flatten(1))


class RandomFeatures(Features):
    """relu(W x + b) with random W and b, which turn once, after the first batches, into the metric of the inputs.

    Natural inputs vary mostly together (neighbouring pixels), and white random weights waste themselves on differences that
    never occur. With C the covariance of the first inputs: W <- W C^smoothing, then each unit's weights fade with the distance,
    by correlation, from an input drawn as its centre. No geometry is told: the receptive fields come out of C.
    """

    def __init__(self, config: RandomKeys, problem: Problem) -> None:
        self._config = config
        self.width = config.width
        n, seeds, device = problem.n_inputs, len(problem.seeds), problem.device
        gathered = n if config.warm_up else 0
        self.tensors = [
            _normal(problem, "weight", (config.width, n)).mul_(n**-0.5),
            _normal(problem, "bias", (config.width,)).mul_(config.bias),
            _gumbel(problem, "centre", (config.width, gathered)),
            torch.zeros(seeds, gathered, device=device),
            torch.zeros(seeds, gathered, gathered, device=device),
            torch.zeros(2, dtype=torch.int64),
        ]
        """Weights, biases, each input's luck to be a unit's centre; sum and second moments of the inputs gathered; how many
        batches and samples that were."""

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the features (S, N, D) of inputs (1 or S, N, D_in)."""
        weight, bias, *_ = self.tensors
        return unit_scale(torch.baddbmm(bias[:, None], inputs.expand(len(weight), -1, -1), weight.mT).relu_())

    def of_seed(self, seed: int, inputs: Tensor) -> Tensor:
        """Return the features (N, D) of one seed, for inputs (N, D_in)."""
        weight, bias, *_ = self.tensors
        return unit_scale(torch.addmm(bias[seed], inputs, weight[seed].T).relu_())

    def gather(self, inputs: Tensor) -> bool:
        """Take in a batch (S, B, D_in) of the warm-up; return True when it was the last one, and the features changed."""
        *_, total, moments, counts = self.tensors
        batches, samples = counts.tolist()
        if batches >= self._config.warm_up:
            return False
        batches, samples = batches + 1, samples + inputs.shape[1]
        self.tensors[3:] = [total + inputs.sum(1), torch.baddbmm(moments, inputs.mT, inputs), torch.tensor([batches, samples])]
        if batches < self._config.warm_up:
            return False
        self._turn(samples)
        return True

    def permute_inputs(self, order: Tensor) -> None:
        """Reorder the input axis of every tensor, order (S, D_in), in place."""
        weight, _, luck, total, moments, _ = self.tensors
        weight.copy_(weight.gather(2, order[:, None].expand_as(weight)))
        if total.numel():
            luck.copy_(luck.gather(2, order[:, None].expand_as(luck)))
            total.copy_(total.gather(1, order))
            moments.copy_(permuted_square(moments, order))

    def _turn(self, samples: int) -> None:
        """Turn the weights into the metric of the inputs gathered, and forget what was gathered."""
        weight, bias, luck, total, moments, _ = self.tensors
        mean = total / samples
        covariance = moments / samples - mean[:, :, None] * mean[:, None]
        power = torch.linspace(0.0, self._config.locality, self.width, device=mean.device)[:, None]
        seeds = zip(weight, luck, covariance, strict=True)
        turned = [_in_metric(*own, smoothing=self._config.smoothing, power=power) for own in seeds]
        self.tensors[0] = torch.stack(turned)
        self.tensors[1] = bias - (self.tensors[0] @ mean[..., None])[..., 0]
        self.tensors[2:5] = [luck[:, :, :0], mean[:, :0], covariance[:, :0, :0]]


def unit_scale(features: Tensor) -> Tensor:
    """Return the features (..., D) scaled to a root mean square of one, so that every key weighs the same in a metric."""
    return features * (features.square().mean(-1, keepdim=True).clamp_min(torch.finfo(features.dtype).tiny)).rsqrt()


def joined(chunks: list[Tensor]) -> Tensor:
    """Return chunks (S, B, ...) as one (S, n B, ...); a single one as it is."""
    return torch.cat(chunks, 1) if len(chunks) > 1 else chunks[0]


def _in_metric(weight: Tensor, luck: Tensor, covariance: Tensor, *, smoothing: float, power: Tensor) -> Tensor:
    """Return one seed's weights (D, n) turned into the metric of the inputs, scaled to features of variance about one.

    A unit's centre is an input drawn in proportion to its variance (a tenth of the mean added), by its Gumbel luck (D, n): a
    drawn pixel stays the same pixel wherever an order puts it.

    Inputs that hardly vary are taken to vary a little (1 % of the mean variance) and independently, and a tenth of the mean
    variance is added where features are scaled: tasks to come may move what these inputs left still.
    """
    variance = covariance.diagonal()
    typical = variance.mean()
    values, vectors = torch.linalg.eigh(
        covariance.double() + 0.01 * typical * torch.eye(len(covariance), device=covariance.device)
    )
    smoothed = weight @ ((vectors * values.clamp_min(0.0) ** smoothing) @ vectors.mT).float()
    deviation = (variance + 0.01 * typical).sqrt()
    correlation = (covariance / deviation / deviation[:, None]).abs().fill_diagonal_(1.0)
    centre = ((variance + 0.1 * typical).log() + luck).argmax(1)
    local = smoothed * correlation[centre] ** power
    spread = ((local @ covariance) * local).sum(1) + 0.1 * typical * local.square().sum(1)
    return local * spread.rsqrt()[:, None]


def _gumbel(problem: Problem, name: str, shape: tuple[int, ...]) -> Tensor:
    """Return Gumbel draws (S, *shape): log p plus these is largest at i with probability p_i."""
    share = torch.from_numpy(draws.uniform(problem.seeds, f"init/keys.{name}", shape, 0.5)).to(problem.device) + 0.5
    return -share.clamp(1e-7, 1.0 - 1e-7).log().neg().log()


def _normal(problem: Problem, name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(draws.normal(problem.seeds, f"init/keys.{name}", shape)).to(problem.device)


KEYS: Final[dict[str, Callable[[Any, Problem], Features]]] = {
    "inputs": Inputs,
    "convolution": Convolution,
    "random": RandomFeatures,
}
"""The class of every kind of keys."""
