"""The memory: keys and values that it makes itself, in the metric of its surprises.

It keeps the gram A = Σ w x xᵀ of keys, and for every value v = (context, class) the sum B_v = Σ w x and the count n_v = Σ w. A
value's mean key μ_v = B_v / n_v is what the memory expects of it, x - μ_v its surprise, and S = A - Σ n_v μ_v μ_vᵀ the gram of
all surprises, exact at any time. A label is no value yet: which context a chunk is written to the memory decides by likelihood
(`nlbench.kernels.contexts`), and labels that contradict each other get a context each.

A key may consist of several groups of features, each with a gram of its own, as if as many memories were asked: what they read is
averaged, and less of it is the chance by which features were drawn.

Shapes: S seeds, B tokens of a chunk, H groups, D width of a key, G contexts that there is room for, C classes.
Source: with one context it is streaming linear discriminant analysis (SLDA; Hayes & Kanan 2020), with `metric` "keys" recursive
ridge regression (ACIL, Zhuang et al. 2022; RanPAC, McDonnell et al. 2023); averaging what random subspaces say, Ho 1998.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import ClassVar, Final, NamedTuple

import torch
from torch import Tensor

from nlbench.errors import NlbenchError
from nlbench.kernels import Bound
from nlbench.kernels.contexts import NEVER, Assigned, Rules, Values, dimension, freedom, spread
from nlbench.learners.hope.config import HopeConfig
from nlbench.learners.hope.gram import Gram

TIMES: Final = 2.0
"""The ridge in what would bring a gram nearest to what it is of: what classifies best is shrunk by more."""
MOST_SHRUNK: Final = 0.5
"""Share of a covariance that the ridge may replace by its mean variance, where there are hardly any samples."""
LEAST_RIDGE: Final = 0.1
"""Where surprises vary by nothing, or next to nothing."""
RAISES: Final = (1.0, 10.0, 100.0, 1000.0)
"""By how many times the ridge, or what float32 rounds a gram by where that is more, what rounding left indefinite is retried."""
GATHERED: Final = 16
"""Rows wait until there are a sixteenth as many as a gram has, on a CPU, where it is large to go through."""


class Reading(NamedTuple):
    """What is solved for: weights (S, G C, D) and offsets (S, G C) of values, and the ridge (S,) that it took."""

    weights: Tensor
    offsets: Tensor
    ridge: Tensor


class Memory:
    """Its state is every attribute.

    gram     of every seed's groups (S H, D / H, D / H), without what is `pending`: some chunks' rows √w x
    values   what is known of values and contexts
    dimension  (S,), of how many independent features surprises consist
    samples  seen so far
    """

    made_anew: ClassVar[tuple[str, ...]] = ("_config", "_rules", "_op", "_groups")

    def __init__(self, config: HopeConfig, width: int, classes: int, like: Tensor, op: Bound, groups: int = 1) -> None:
        """`like` (S,) has the type and the device; `op` is the bound `contexts`.

        On a GPU, where the host does not look how many contexts there are, there is room for all from the start.
        """
        seeds = len(like)
        self._config, self._op, self._groups = config, op, groups
        self._rules = Rules(**{field.name: getattr(config, field.name) for field in fields(Rules)})
        room = config.contexts if like.device.type == "cuda" else 1
        self.gram = Gram(width // groups, like.repeat_interleave(groups))
        self.values = Values(
            squares=like.new_zeros(seeds, width),
            sums=like.new_zeros(seeds, room, classes, width),
            counts=like.new_zeros(seeds, room, classes),
            belief=like.new_zeros(seeds, room),
            doubts=like.new_zeros(seeds, room),
            used=torch.zeros(seeds, dtype=torch.int64, device=like.device),
        )
        self.dimension = like.new_full((seeds,), 4.0)
        self.samples, self._next_dimension = 0, config.warm_up
        self.pending: list[Tensor] = []

    def prepare(self, tokens: int) -> None:
        """Before a chunk of so many tokens: measure of how many independent features surprises consist, if that is due."""
        now = self.samples + tokens
        if self.samples and now >= self._next_dimension:
            self._measure()
            self._next_dimension = now + max(2 * self._config.warm_up, now // 8)

    def undisturbed(self, tokens: int) -> int:
        """Return how many chunks of so many tokens may follow one another before `prepare` must come between; at least one."""
        return max(1, (self._next_dimension - 1 - self.samples) // tokens) if self.samples else 1

    def assign(self, keys: Tensor, labels: Tensor) -> Assigned:
        """Return the context that the chunk of keys (S, B, D) and labels (S, B) belongs to, opened where it is a new one, and
        what it expected; contexts that would have given other labels are doubted.
        """
        if self.samples == 0:
            nothing = torch.zeros_like(keys[..., 0])
            return Assigned(torch.zeros_like(self.values.used.fill_(1)), nothing, nothing)
        found = self._op.assign(self.values, keys, labels, self.dimension, self._rules)
        self._make_room()
        return found

    def write(self, keys: Tensor, labels: Tensor, chosen: Tensor, weights: Tensor) -> None:
        """Write the chunk of keys (S, B, D) and labels (S, B) as values of the chosen contexts (S,), weighted (S, B)."""
        kept = self._config.decay ** labels.shape[1] if self.samples else 0.0
        self._op.write(self.values, keys, labels, chosen, weights, kept=kept)

    def gather(self, rows: Tensor) -> None:
        """Take rows √w x (S, B, D) into the gram, on a CPU many at a time: it is large."""
        self.pending.append(rows)
        if rows.device.type == "cuda" or GATHERED * self._groups * sum(each.shape[1] for each in self.pending) >= rows.shape[2]:
            self._take_in()

    def _take_in(self) -> None:
        """Take what is pending into the gram."""
        if self.pending:
            self.gram.add(self._by_group(torch.cat(self.pending, 1)))
            self.pending.clear()

    def tensors(self) -> list[Tensor]:
        """Return what chunks read and change in place."""
        return [*self.gram.strips, self.dimension, *self.values.tensors()]

    def solve(self) -> Reading:
        """Return what the memory reads by now, from every pair so far. Cost: H (D / H)³ / 3 multiply-adds a seed, in float64."""
        parts = [self._solve(own) for own in self._shares()]
        weights, offsets, ridge = (torch.cat(each).unflatten(0, (-1, self._groups)) for each in zip(*parts, strict=True))
        found = weights.transpose(1, 2).flatten(2) / self._groups, self._prior(offsets.mean(1)), ridge.mean(1)
        return Reading(*(each.to(self.dimension.dtype) for each in found))

    def _shares(self) -> list[slice]:
        """Return which seeds' groups to take together: on a GPU all, on a CPU one, whose matrix in float64 is large enough."""
        number = len(self.dimension) * self._groups
        return [slice(0, number)] if self.dimension.device.type == "cuda" else [slice(i, i + 1) for i in range(number)]

    def _by_group(self, tensor: Tensor) -> Tensor:
        """Return what is (S, N, D) by group, (S H, N, D / H)."""
        return tensor.unflatten(2, (self._groups, -1)).transpose(1, 2).flatten(0, 1)

    def _each(self, tensor: Tensor) -> Tensor:
        """Return what is said of seeds (S, ...) for each of their groups (S H, ...)."""
        return tensor.repeat_interleave(self._groups, 0) if self._groups > 1 else tensor

    def _gram(self, own: slice) -> Tensor:
        """Return some groups' grams (s, D / H, D / H), with what is pending, in float64."""
        gram = self.gram.of(own)
        if self.pending:
            rows = self._by_group(torch.cat(self.pending, 1))[own].double()
            gram.baddbmm_(rows.mT, rows)
        return gram

    def _solve(self, own: slice) -> Reading:
        """Return what some groups read, in float64, whatever is doubted."""
        sums, counts = self._by_group(self.values.sums.flatten(1, 2))[own].double(), self._each(self.values.counts)[own].double()
        means = sums / counts.flatten(1).clamp_min(1e-9)[..., None]
        matrices, surprises = self._gram(own), self._config.metric == "surprises"
        if surprises:
            matrices.baddbmm_(means.mT, sums, alpha=-1)
        rounding = torch.finfo(torch.float32).eps / 2 * self._by_group(self.values.squares[:, None])[own].double().sum((1, 2))
        factors, ridge = _factors(matrices, self._ridge(matrices, freedom(counts)), rounding)
        right = counts.sum((1, 2))[:, None, None] * means if surprises else sums
        weights = torch.cholesky_solve(right.mT, factors).mT
        offsets = -0.5 * (means * weights).sum(2) if surprises else torch.zeros_like(weights[..., 0])
        return Reading(weights, offsets, ridge)

    def _prior(self, offsets: Tensor) -> Tensor:
        """Return offsets (S, G C) less what is doubted of the contexts of each class; a value never written never is the best."""
        have = self.values.counts > 0
        doubts = self.values.doubts.double()[..., None].expand_as(have)
        top = doubts.masked_fill(~have, -math.inf).amax(1, keepdim=True).masked_fill(~have.any(1, keepdim=True), 0.0)
        return (offsets + (doubts - top).flatten(1)).masked_fill(~have.flatten(1), NEVER)

    def _ridge(self, matrices: Tensor, free: Tensor) -> Tensor:
        """Return the ridges (s,) asked for, or by rule."""
        if self._config.ridge is not None:
            return torch.full_like(free, self._config.ridge)
        return (TIMES * shrinking(matrices, free)).clamp_min(LEAST_RIDGE)

    def _measure(self) -> None:
        """Bring up to date of how many independent features surprises consist, strip by strip of the gram."""
        self._take_in()
        values = self.values
        precisions = self._by_group(spread(values.squares, values.sums, values.counts).precision[:, None])[:, 0]
        free, found = self._each(freedom(values.counts).double()), []
        for own in self._shares():
            sums, counts = self._by_group(values.sums.flatten(1, 2))[own].double(), self._each(values.counts)[own].double()
            means, precision = sums / counts.flatten(1).clamp_min(1e-9)[..., None], precisions[own].double()
            trace, squares = torch.zeros_like(free[own]), torch.zeros_like(free[own])
            for rows, strip in self.gram.parts():
                scatter = strip[own].to(torch.float64, copy=True)
                scatter.baddbmm_(means[:, :, rows].mT, sums[:, :, rows.start :], alpha=-1)
                scaled, height = precision[:, rows], rows.stop - rows.start
                trace += (scatter.diagonal(dim1=1, dim2=2) * scaled).sum(1)
                along = (scatter.square_().mT @ scaled[..., None])[..., 0] * precision[:, rows.start :]
                squares += 2.0 * along.sum(1) - along[:, :height].sum(1)  # what lies left of the strip is what lies below
            found.append(dimension(trace, squares, free[own], precision.shape[1]))
        self.dimension.copy_(torch.cat(found).unflatten(0, (-1, self._groups)).mean(1))

    def _make_room(self) -> None:
        """Make room for all contexts that are used; what is added was never written."""
        values = self.values
        if values.belief.shape[1] == self._rules.contexts:
            return
        missing = int(values.used.max()) - values.belief.shape[1]
        if missing > 0:
            for name in ("sums", "counts", "belief", "doubts"):
                own = getattr(values, name)
                setattr(values, name, torch.cat([own, own.new_zeros(own.shape[0], missing, *own.shape[2:])], 1))


def values(keys: Tensor, reading: Reading, classes: int) -> Tensor:
    """Return what keys (S, N, D) read of every value, (S, N, G, C)."""
    return torch.baddbmm(reading.offsets[:, None], keys, reading.weights.mT).unflatten(2, (-1, classes))


def shrinking(grams: Tensor, free: Tensor) -> Tensor:
    """Return the ridges (s,) that shrink grams (s, D, D) of so many degrees of freedom (s,) towards their mean variance by as
    much as is expected to bring them nearest to what they are of: about the mean variance times the independent features.

    Source: the oracle approximating shrinkage estimator (OAS), Chen, Wiesel, Eldar and Hero 2010, eq. 23.
    """
    width, free = grams.shape[1], free.clamp_min(1.0)
    trace, squares = grams.diagonal(dim1=1, dim2=2).sum(1), torch.linalg.vector_norm(grams, dim=(1, 2)).square()
    spread = (squares - trace.square() / width).clamp_min(1e-300)
    share = (((1 - 2 / width) * squares + trace.square()) / ((free + 1 - 2 / width) * spread)).clamp_max(MOST_SHRUNK)
    return share / (1 - share) * trace / width


def _factors(matrices: Tensor, ridge: Tensor, rounding: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Cholesky factors of float64 matrices (s, D, D) with ridges (s,), which are raised only where a matrix is not
    definite, by its rounding (s,), and the ridges (s,) that were added. Raises `NlbenchError` where none helps.
    """
    diagonals, added = matrices.diagonal(dim1=1, dim2=2), matrices.new_zeros(len(matrices))
    failed = torch.ones_like(added, dtype=torch.bool)
    for times in RAISES:
        more = torch.where(failed, times * ridge - added, 0.0)
        diagonals.add_(more[:, None])
        added += more
        factors, minors = torch.linalg.cholesky_ex(matrices)
        failed = (minors > 0) | ~factors.diagonal(dim1=1, dim2=2).isfinite().all(1)  # CUDA's minors say nothing of a NaN
        if not failed.any():
            return factors, added
        ridge = torch.maximum(ridge, rounding)
    raise NlbenchError(
        f"the gram of surprises is not positive definite, whatever ridge up to {float(added.max()):g} is added.",
        "Inputs are not finite, or far too long: normalise them.",
    )
