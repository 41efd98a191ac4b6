"""The memory: keys and values that it makes itself, in the metric of its surprises.

It keeps the gram A = Σ w x xᵀ of keys, and for every value v = (context, class) the sum B_v = Σ w x and the count n_v = Σ w. A
value's mean key μ_v = B_v / n_v is what the memory expects of it, x - μ_v its surprise, and S = A - Σ n_v μ_v μ_vᵀ the gram of
all surprises, exact at any time. A label is no value yet: which context a chunk is written to the memory decides by likelihood
(`likelihood`), and labels that contradict each other get a context each.

Shapes: S seeds, B tokens of a chunk, D width of a key, G contexts that there is room for, C classes.
Source: with one context it is streaming linear discriminant analysis (SLDA; Hayes & Kanan 2020), with `metric` "keys" recursive
ridge regression (ACIL, Zhuang et al. 2022; RanPAC, McDonnell et al. 2023).
"""

from __future__ import annotations

import math
from typing import ClassVar, Final, NamedTuple

import torch
from torch import Tensor

from nlbench.errors import NlbenchError
from nlbench.kernels import Bound
from nlbench.learners.hope import likelihood
from nlbench.learners.hope.config import HopeConfig
from nlbench.learners.hope.likelihood import NEVER

RAISES: Final = (1.0, 10.0, 100.0, 1000.0)
"""By how many times the ridge what is solved for is retried, where rounding left it indefinite."""
GATHERED: Final = 256
"""Rows that are taken into the gram at once."""


class Reading(NamedTuple):
    """What is solved for: weights (S, G C, D) and offsets (S, G C) of values, and the ridge (S,) that it took."""

    weights: Tensor
    offsets: Tensor
    ridge: Tensor


class Memory:
    """Its state is every attribute.

    gram     (S, D, D), without what is `pending`: some chunks' rows √w x
    squares  (S, D), the gram's diagonal with it
    sums, counts   (S, G, C, D), (S, G, C) of values
    belief, doubts   (S, G): which contexts chunks lately belonged to; log odds against what a context says
    used     (S,), contexts that there are
    """

    made_anew: ClassVar[tuple[str, ...]] = ("_config", "_op")

    def __init__(self, config: HopeConfig, width: int, classes: int, like: Tensor, op: Bound) -> None:
        """`like` (S,) has the type and the device; `op` is the bound `metric_update`."""
        seeds = len(like)
        self._config, self._op = config, op
        self.gram, self.squares = like.new_zeros(seeds, width, width), like.new_zeros(seeds, width)
        self.sums, self.counts = like.new_zeros(seeds, 1, classes, width), like.new_zeros(seeds, 1, classes)
        self.belief, self.doubts = like.new_zeros(seeds, 1), like.new_zeros(seeds, 1)
        self.used = torch.zeros(seeds, dtype=torch.int64, device=like.device)
        self.dimension = like.new_full((seeds,), 4.0)
        self.samples, self._next_dimension = 0, config.warm_up
        self.pending: list[Tensor] = []

    def assign(self, keys: Tensor, labels: Tensor) -> Tensor:
        """Return the context (S,) that the chunk of keys (S, B, D) and labels (S, B) belongs to, opened where it is a new one;
        contexts that would have given other labels are doubted.
        """
        if self.samples == 0:
            self.used += 1
            return torch.zeros_like(self.used)
        if self._config.contexts == 1:
            return torch.zeros_like(self.used)
        now = self.samples + labels.shape[1]
        if now >= self._next_dimension:
            self._measure()
            self._next_dimension = now + max(2 * self._config.warm_up, now // 8)
        shared = likelihood.spread(self.squares, self.sums, self.counts)
        found = likelihood.ratios(keys, shared, self.dimension, self.sums, self.counts)
        contexts, own = found.shape[2], labels[:, :, None, None].expand(-1, -1, found.shape[2], 1)
        there = torch.arange(contexts, device=keys.device) < self.used[:, None]
        hazard = self._config.hazard / (self.used + 1)
        prior = ((1.0 - self._config.hazard) * self.belief + hazard[:, None] + 1e-30).log()
        evidence = (found.gather(3, own)[..., 0].sum(1) + prior).masked_fill(~there, -math.inf)
        best, chosen = evidence.max(1)
        room = (self.used < self._config.contexts) & (self.counts.sum((1, 2)) >= self._config.warm_up)
        room &= likelihood.freedom(self.counts) >= self._config.warm_up / 2
        opens = room & (hazard.log() > best + self._config.opening)
        if self._config.doubt > 0:
            self._doubt(found, labels, chosen, ~opens)
        chosen = torch.where(opens, self.used, chosen)
        self.used = self.used + opens
        self._make_room(int(self.used.max()))
        return chosen

    def write(self, keys: Tensor, labels: Tensor, chosen: Tensor, weights: Tensor) -> None:
        """Write the chunk of keys (S, B, D) and labels (S, B) as values of the chosen contexts (S,), weighted (S, B)."""
        seeds, tokens = labels.shape
        weighted = keys * weights[..., None]
        value = (chosen[:, None] * self.counts.shape[2] + labels).view(seeds, tokens)
        self.counts.flatten(1).scatter_add_(1, value, weights)
        self.sums.flatten(1, 2).scatter_add_(1, value[..., None].expand_as(weighted), weighted)
        self.squares += (weighted * keys).sum(1)
        self._gather(weights.sqrt()[..., None] * keys)
        share = torch.zeros_like(self.belief).scatter_(1, chosen[:, None], 1.0)
        kept = self._config.decay**tokens if self.samples else 0.0
        self.belief = kept * self.belief + (1.0 - kept) * share
        self.samples += tokens

    def scatter(self, seed: int) -> Tensor:
        """Return the gram of one seed's surprises (D, D), in float64."""
        gram = self._gram(seed)
        sums, counts = self.sums[seed].flatten(0, 1).double(), self.counts[seed].flatten().double()
        live = counts > 0
        means = sums[live] / counts[live][:, None]
        return gram.addmm_(means.mT, sums[live], alpha=-1)

    def solve(self) -> Reading:
        """Return what the memory reads by now, from every pair so far. Cost: D³ / 3 multiply-adds a seed, in float64."""
        solved = [self._solve(seed) for seed in range(len(self.used))]
        weights, offsets, ridges = (list(each) for each in zip(*solved, strict=True))
        return Reading(torch.stack(weights), torch.stack(offsets), self.squares.new_tensor(ridges))

    def _gather(self, rows: Tensor) -> None:
        """Take rows (S, B, D) into the gram, many at a time: it is large."""
        self.pending.append(rows)
        if sum(each.shape[1] for each in self.pending) >= GATHERED:
            self._op.accumulate(self.gram, torch.cat(self.pending, 1))
            self.pending.clear()

    def _gram(self, seed: int) -> Tensor:
        """Return one seed's gram (D, D), with what is pending, in float64."""
        gram = self.gram[seed].to(torch.float64, copy=True)
        if self.pending:
            rows = torch.cat([each[seed] for each in self.pending]).double()
            gram.addmm_(rows.mT, rows)
        return gram

    def _solve(self, seed: int) -> tuple[Tensor, Tensor, float]:
        sums, counts = self.sums[seed].double(), self.counts[seed].double()
        have, surprises = counts > 0, self._config.metric == "surprises"
        means = sums / counts.clamp_min(1e-9)[..., None]
        factor, ridge = _factor(self.scatter(seed) if surprises else self._gram(seed), self._config.ridge)
        right = counts.sum() * means if surprises else sums
        weights = torch.cholesky_solve(right.flatten(0, 1).mT, factor).mT
        offsets = -0.5 * (means.flatten(0, 1) * weights).sum(1) if surprises else torch.zeros_like(weights[:, 0])
        doubts = self.doubts[seed].double()[:, None].expand_as(counts)
        top = doubts.masked_fill(~have, -math.inf).amax(0).masked_fill(~have.any(0), 0.0)
        offsets = (offsets + (doubts - top).flatten()).masked_fill(~have.flatten(), NEVER)
        return weights.to(self.gram.dtype), offsets.to(self.gram.dtype), ridge

    def _measure(self) -> None:
        """Bring up to date of how many independent features surprises consist."""
        shared, free = likelihood.spread(self.squares, self.sums, self.counts), likelihood.freedom(self.counts)
        every = range(len(self.used))
        found = [likelihood.dimension(self.scatter(s)[None], shared.precision[s, None], free[s, None]) for s in every]
        self.dimension = torch.cat(found).to(self.gram.dtype)

    def _doubt(self, found: Tensor, labels: Tensor, chosen: Tensor, applies: Tensor) -> None:
        claimed, number = likelihood.claims(found, labels, self.counts, chosen)
        loss = self._config.doubt * number[:, None] * (claimed - self._config.tolerance).clamp_min(0.0)
        doubted = (self.doubts - loss).clamp_min(self._config.least).scatter(1, chosen[:, None], 0.0)
        self.doubts = torch.where(applies[:, None], doubted, self.doubts)

    def _make_room(self, contexts: int) -> None:
        """Make room for so many contexts; what is added was never written."""
        missing = contexts - self.belief.shape[1]
        if missing > 0:
            for name in ("sums", "counts", "belief", "doubts"):
                own = getattr(self, name)
                setattr(self, name, torch.cat([own, own.new_zeros(own.shape[0], missing, *own.shape[2:])], 1))


def values(keys: Tensor, reading: Reading, classes: int) -> Tensor:
    """Return what keys (S, N, D) read of every value, (S, N, G, C)."""
    return torch.baddbmm(reading.offsets[:, None], keys, reading.weights.mT).unflatten(2, (-1, classes))


def read(keys: Tensor, reading: Reading, classes: int) -> Tensor:
    """Return what keys (S, N, D) read: each class's best context, (S, N, C)."""
    return values(keys, reading, classes).amax(2)


def _factor(matrix: Tensor, ridge: float) -> tuple[Tensor, float]:
    """Return the Cholesky factor of a float64 matrix (D, D) with a ridge, which is raised only where rounding of the matrix asks
    for it, and the ridge that was added. Raises `NlbenchError` where none helps.
    """
    added = 0.0
    for times in RAISES:
        matrix.diagonal().add_(times * ridge - added)
        added = times * ridge
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if not failed:
            return factor, added
    raise NlbenchError(
        f"the gram of surprises is not positive definite, whatever ridge up to {added:g} is added.",
        "Inputs are not finite, or far too long: normalise them.",
    )
