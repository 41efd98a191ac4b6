"""RanPAC: random projections and ridge regression, whose ridge is chosen from each task."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.batch import Problem
from nlbench.kernels.metric_update import whole
from nlbench.learners.analytic.analytic import Analytic, Linear
from nlbench.learners.analytic.config import RanpacConfig

FIRST: float = 1.0
"""The ridge before a task has ended."""


class Gathered:
    """Σ φ φᵀ (S, D, D) and Σ φ yᵀ (S, D, C) of some samples."""

    def __init__(self, problem: Problem, width: int) -> None:
        seeds, device = len(problem.seeds), problem.device
        self.gram = torch.zeros(seeds, width, width, device=device)
        self.products = torch.zeros(seeds, width, problem.n_classes, device=device)

    def add(self, other: Gathered) -> None:
        """Take in what another gathered, which is then empty."""
        for own, value in ((self.gram, other.gram), (self.products, other.products)):
            own.add_(value)
            value.zero_()


class Ranpac(Analytic):
    """Ridge regression of one-hot labels on random features: W = (Σ φ φᵀ + λ I)⁻¹ Σ φ yᵀ of all samples.

    After a task, λ is the candidate whose solution on four fifths of that task's samples errs least, in the mean square, on the
    other fifth: both parts are gathered as second moments, |Y - Φ Wᵀ|² = Σ |y|² - 2 tr(W Σ φ yᵀ) + tr(W Σ φ φᵀ Wᵀ), and no sample
    is stored. The fifth is every fifth sample, where the paper takes the last of a shuffled task.

    Told: boundaries. Keeps: three grams with their products, 12 (D² + C D) bytes.
    Cost: B D² / 2 multiply-adds a batch; D³ / 6 once a prediction after it, and a candidate a boundary.
    Source: McDonnell et al. 2023 (arXiv 2307.02251), sec. 4 and algorithm 1; candidates of their published code.
    """

    needs = ("boundaries",)

    def __init__(self, config: RanpacConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        self._config = config
        self.past, self.fitted, self.held = (Gathered(problem, self.network.width) for _ in range(3))
        self.ridges = torch.full((len(problem.seeds),), FIRST, dtype=torch.float64)
        self.shown = 0
        """Samples of the task so far."""

    def gather(self, features: Tensor, labels: Tensor) -> None:
        places = (self.shown + torch.arange(labels.shape[1], device=labels.device)) % self._config.held_out
        targets = F.one_hot(labels, self.means.counts.shape[1]).to(features.dtype)
        for part, chosen in ((self.held, places == self._config.held_out - 1), (self.fitted, places < self._config.held_out - 1)):
            keys = features[:, chosen]
            self.ops.accumulate(part.gram, keys)
            part.products.baddbmm_(keys.mT, targets[:, chosen])
        self.shown += labels.shape[1]

    def end_task(self) -> None:
        if self.shown >= self._config.held_out:
            errors = torch.stack([self._error(ridge) for ridge in self._config.ridges])
            self.ridges = torch.tensor(self._config.ridges, dtype=torch.float64)[errors.argmin(0).cpu()]
        for part in (self.fitted, self.held):
            self.past.add(part)
        self.shown, self._readout = 0, None

    def solve(self) -> Linear:
        parts = (self.past, self.fitted, self.held)
        gram, products = (sum(each[1:], each[0]) for each in ([p.gram for p in parts], [p.products for p in parts]))
        weights = [
            self.ops.least_squares(own[None], right[None], float(ridge))
            for own, right, ridge in zip(gram, products, self.ridges, strict=True)
        ]
        return Linear(torch.cat(weights), self.means.counts.new_zeros(self.means.counts.shape))

    def _error(self, ridge: float) -> Tensor:
        """Return by how much each seed's squared error on what is held out, (S,), exceeds what is the same for every ridge."""
        weights = self.ops.least_squares(self.fitted.gram, self.fitted.products, ridge)
        return ((weights @ whole(self.held.gram)) * weights).sum((1, 2)) - 2 * (weights.mT * self.held.products).sum((1, 2))

    def diagnostics(self) -> dict[str, Tensor]:
        return {"ridge": self.ridges}
