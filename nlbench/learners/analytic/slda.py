"""Streaming linear discriminant analysis (SLDA): the nearest class mean in one covariance that streams along."""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.batch import Problem
from nlbench.learners.analytic.analytic import Analytic, Linear, nearest
from nlbench.learners.analytic.config import SldaConfig


class Slda(Analytic):
    """The nearest class mean in the precision of one covariance, each sample's around what its class's mean was before it.

    Sample t + 1, with d = φ - μ_y of the mean before it (zero for a class not met yet): Σ <- (t Σ + t / (t + 1) d dᵀ) / (t + 1),
    then μ_y. The read-out is that of Λ = ((1 - ε) Σ + ε I)⁻¹. A batch is taken in as its samples would be, one after another.

    Told: nothing beyond batches. Keeps: means and a covariance, 4 (D² + C (D + 1)) bytes. As d knows only the past, a sample's
    place in the stream moves Σ a little, unlike what the other analytic learners gather.
    Cost: B D² / 2 multiply-adds a batch and, once a prediction after it, D³ / 6.
    Source: Hayes & Kanan 2020 (arXiv 1909.01520), eq. 2-5, without their base initialisation.
    """

    def __init__(self, config: SldaConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        self._shrinkage = config.shrinkage
        width = self.network.width
        self.scatter = torch.zeros(len(problem.seeds), width, width, device=problem.device)
        """(S, D, D): t Σ."""

    def gather(self, features: Tensor, labels: Tensor) -> None:
        earlier = (labels[:, :, None] == labels[:, None]).tril(-1).to(features.dtype)
        """(S, B, B): those before a sample that share its class."""
        own = labels[..., None].expand_as(features)
        counts = self.means.counts.gather(1, labels) + earlier.sum(-1)
        centres = torch.baddbmm(self.means.sums.gather(1, own), earlier, features) / counts.clamp_min(1)[..., None]
        before = self.means.counts.sum(1, keepdim=True) + torch.arange(labels.shape[1], device=labels.device)
        weights = before / (before + 1)
        self.ops.accumulate(self.scatter, (weights.sqrt()[..., None] * (features - centres)).contiguous())

    def solve(self) -> Linear:
        n = self.means.counts.sum(1).clamp_min(1)[:, None, None]
        centres = self.means.of_classes()
        covariance = self.scatter.to(torch.float64, copy=True).mul_(1 - self._shrinkage).div_(n)
        precise = self.ops.least_squares(covariance, centres.mT.double().contiguous(), self._shrinkage)
        return nearest(centres, precise.float())
