"""One memory: a matrix whose last column is its bias, which the last key, a constant 1, multiplies.

Shapes: S seeds, B tokens of a chunk, N tokens, D width of a key, V width of what a memory answers.
Source: Behrouz et al. 2025 (arXiv 2512.24695), eq. 59 with an accumulated metric, and eq. 70-71.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from nlbench.kernels import Bound
from nlbench.kernels.batch_product import Directions, Factor, worth_parts
from nlbench.kernels.metric_update import whole
from nlbench.learners.projected.config import ProjectedConfig, ProjectedLevel, Readout
from nlbench.learners.projected.order import permuted_square, with_last


@dataclass(frozen=True, slots=True)
class Writing:
    """How a memory is written.

    rate, period  a step is the mean of a period's, times the rate
    ridge    λ of what a gram A protects, (I + A / λ)⁻¹
    retain   what the gram keeps of itself at every chunk that it gathers
    bound    the longest step of one chunk, before the rate
    share    every how many chunks the gram gathers keys: they count as many times
    """

    rate: float
    ridge: float
    retain: float = 1.0
    period: int = 1
    bound: float = inf
    share: int = 1

    @classmethod
    def of(cls, config: ProjectedConfig, own: ProjectedLevel | Readout) -> Writing:
        """Return that of a level or the read-out of a configuration."""
        period = own.period if isinstance(own, ProjectedLevel) else 1
        return cls(own.rate, own.ridge, own.retain, period, config.bound, config.share)


class Ops(NamedTuple):
    """The bound kernels of memories: `metric_update` and `batch_product`."""

    steps: Bound
    products: Bound


class Memory:
    """Weights, what protects them, and the steps that wait for the end of the period.

    weights     (S, V, D)
    gram        (S, D, D), Σ k kᵀ of the keys it was written with; empty where it gathers none
    projection  (S, D, D), what the gram protected when that was last brought up to date; empty where it protects nothing
    pending     (S, V, D), what was gathered of the period's steps; empty where the period is 1
    """

    def __init__(
        self, weights: Tensor, writing: Writing, ops: Ops, *, gathers: bool, protects: bool, first: bool, hidden: bool
    ) -> None:
        """Of the first memory nobody asks what is below. Products of parts are for hidden memories: a read-out is written in many
        ways.
        """
        seeds, answers, width = weights.shape
        self.weights, self.writing, self.protected = weights, writing, protects
        self.gram = weights.new_zeros(seeds, *(2 * [width if gathers else 0]))
        self.projection = torch.eye(width if protects else 0, device=weights.device).repeat(seeds, 1, 1)
        self.pending = weights.new_zeros(seeds, answers, width if writing.period > 1 else 0)
        self._op = ops.steps
        self._whole_steps = ops.steps.has("step")  # a step projects, bounds and gathers
        self._factor: Factor = ops.products.factor(weights, below=not first, split=hidden and worth_parts(weights))
        self._projecting: Factor = ops.products.factor(self.projection, split=worth_parts(self.projection))

    def load(self) -> None:
        """Use every kernel of its products once, before the clock runs."""
        self._factor.load()
        self._projecting.load()

    def answers(self, keys: Tensor) -> Tensor:
        """Return what it answers to keys (S, N, D): (S, N, V)."""
        return self._factor.answer(keys)

    def below(self, errors: Tensor) -> Tensor:
        """Return what errors of its answers (S, N, V) say of its keys: (S, N, D)."""
        return self._factor.below(errors)

    def projected(self, keys: Tensor) -> Tensor:
        """Return keys projected by what it protects; as they are where the step itself projects."""
        return keys if self._whole_steps or not self.projection.numel() else self._projecting.answer(keys)

    def laid(self, directions: Tensor) -> Directions:
        """Return directions (S, N, D) as its steps take them."""
        return self._factor.lay(directions)

    def directions(self, keys: Tensor) -> Directions:
        """Return keys projected by what it protects, as its steps take them."""
        return self.laid(self.projected(keys))

    def inner(self, keys: Tensor, directions: Tensor) -> Tensor:
        """Return the products (S, N, M) of keys (S, N, D) with directions (S, M, D)."""
        return self._factor.inner(keys, directions)

    def moves(self, errors: Tensor, directions: Tensor, size: int) -> Tensor:
        """Return the errors (S, N, V) of chunks of `size` tokens, those of a chunk less where its step would be too long."""
        if self.protected and self._whole_steps:
            return errors  # the step bounds them
        return self._op.bounded(errors, directions, self.writing.bound, chunk=size)

    def step(self, keys: Tensor, directions: Directions, moves: Tensor, *, chunks: int, ends: bool, gathers: bool) -> None:
        """Step by moves (S, N, V) of so many chunks along directions (S, N, D); where the period is longer, keep the step until
        it `ends`, and make the mean of all then. Where steps are whole, a chunk that `gathers` enters the gram with it.
        """
        own = self.writing
        rate, direct = own.rate / own.period, own.period == 1 or (ends and chunks == own.period)
        target, scale = (self.weights, -rate) if direct else (self.pending, 1.0)
        if self.protected and self._whole_steps:
            options = {"share": own.share / keys.shape[1], "retain": own.retain} if gathers else {"share": 0.0}
            self._op.metric_step(target, self.gram, self.projection, keys, moves, rate=-scale, bound=own.bound, **options)
        elif direct:
            self._factor.step(moves, directions, scale=scale)
        else:
            target.baddbmm_(moves.mT, directions.numbers, alpha=scale)
        if ends and not direct:
            self.weights.sub_(self.pending, alpha=rate)
            self.pending.zero_()
            self._factor.renew()

    @property
    def gathers_apart(self) -> bool:
        """Whether what it protects gathers keys by `gather`, and not in its steps."""
        return self.protected and not self._whole_steps

    def gather(self, chunks: Sequence[Tensor]) -> None:
        """Take the keys (S, B, D) of chunks, the newest first, into the gram; a chunk counts one, whatever its length."""
        share, retain = self.writing.share, self.writing.retain
        weights = [retain**after * share / keys.shape[1] for after, keys in enumerate(chunks)]
        rows = torch.cat([weight**0.5 * keys for weight, keys in zip(weights, chunks, strict=True)], 1)
        self._op.accumulate(self.gram, rows, retain=retain ** len(chunks))

    def protect(self) -> None:
        """Bring up to date what the gram protects."""
        self.projection.copy_(self._op.protecting(self.gram, self.writing.ridge))

    def renew_projection(self) -> None:
        """Take in that the projection was changed."""
        self._projecting.renew()

    def permute(self, order: Tensor) -> None:
        """Reorder the keys of weights and pending steps, order (S, D - 1), in place."""
        columns = with_last(order)[:, None]
        for tensor in (self.weights, self.pending):
            if tensor.numel():
                tensor.copy_(tensor.gather(2, columns.expand_as(tensor)))
        self._factor.renew()

    def follow(self, order: Tensor) -> None:
        """Reorder what the gram and its projection know of keys, order (S, D - 1), in place."""
        for tensor, matrix in ((self.gram, whole(self.gram)), (self.projection, self.projection)):
            if tensor.numel():
                tensor.copy_(permuted_square(matrix, with_last(order)))
        self._projecting.renew()

    def tensors(self) -> dict[str, Tensor]:
        """Return its state by name."""
        return {"weights": self.weights, "gram": self.gram, "projection": self.projection, "pending": self.pending}

    def renew_weights(self) -> None:
        """Take in that the weights were changed by others."""
        self._factor.renew()

    def renew(self) -> None:
        """Take in that its tensors were changed by others."""
        self.renew_weights()
        self._projecting.renew()

    def parts(self) -> list[Tensor]:
        """Return what its products keep of weights and projection beside them."""
        return [*self._factor.parts, *self._projecting.parts]


def with_constant(inputs: Tensor) -> Tensor:
    """Return keys (..., D + 1): the inputs (..., D) and a constant 1, so that a bias is one more weight."""
    return torch.cat([inputs, torch.ones_like(inputs[..., :1])], -1)
