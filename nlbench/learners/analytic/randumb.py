"""RanDumb: random Fourier features, decorrelated, and the nearest class mean."""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.batch import Problem
from nlbench.kernels.metric_update import whole
from nlbench.learners.analytic.analytic import Analytic, Linear, nearest
from nlbench.learners.analytic.config import RandumbConfig
from nlbench.learners.analytic.statistics import shrunk, within


class Randumb(Analytic):
    """The nearest class mean in the precision of the covariance that all classes share: argmax_c μ_cᵀ Λ φ - ½ μ_cᵀ Λ μ_c.

    Λ⁻¹ is the covariance around class means, moved towards a multiple of the identity by oracle approximating shrinkage, which
    has no parameter.

    Told: nothing beyond batches. Keeps: Σ φ φᵀ and sums by class, 4 (D² + C (D + 1)) bytes.
    Cost: B D² / 2 multiply-adds a batch and, once a prediction after it, D³ / 6.
    Source: Prabhu et al. 2024 (arXiv 2402.08823), sec. 2, with the shrinkage of their published code.
    """

    def __init__(self, config: RandumbConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        width = self.network.width
        self.gram = torch.zeros(len(problem.seeds), width, width, device=problem.device)

    def gather(self, features: Tensor, labels: Tensor) -> None:
        self.ops.accumulate(self.gram, features.contiguous())

    def solve(self) -> Linear:
        centres = self.means.of_classes()
        covariance = shrunk(within(whole(self.gram), self.means), self.means.counts.sum(1).double())
        precise = self.ops.least_squares(covariance, centres.mT.double().contiguous(), 0.0)
        return nearest(centres, precise.float())
