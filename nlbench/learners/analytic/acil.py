"""Analytic class-incremental learning (ACIL): ridge regression kept solved by recursive least squares."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.kernels import metric_update
from nlbench.kernels.backends import bind
from nlbench.learners.analytic.analytic import Analytic, Linear
from nlbench.learners.analytic.config import AcilConfig


class Acil(Analytic):
    """Ridge regression of one-hot labels on frozen features, kept solved by recursive least squares.

    With R = (Σ φ φᵀ + γ I)⁻¹ of all samples so far, each batch Φ, Y: R <- R - R Φᵀ (I + Φ R Φᵀ)⁻¹ Φ R and
    W <- W + (Y - Φ Wᵀ)ᵀ Φ R, which is the solution of all samples at once, whatever their order.

    Told: nothing beyond batches. Keeps: R and W in float64, in which thousands of small steps leave no trace, 8 (D² + C D) bytes.
    Cost: 1.5 B D² multiply-adds a batch; nothing is solved for at a prediction. The loss is half the squared error, summed over
    classes, as in what is minimised.
    Source: Zhuang et al. 2022 (arXiv 2205.14922), theorem 1.
    """

    def __init__(self, config: AcilConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        seeds, width, device = len(problem.seeds), self.network.width, problem.device
        self.precision = torch.eye(width, dtype=torch.float64, device=device).div(config.ridge).repeat(seeds, 1, 1)
        self.weights = torch.zeros(seeds, problem.n_classes, width, dtype=torch.float64, device=device)
        self.ops = bind(metric_update, problem.backend, self.precision)

    def observe(self, batch: Batch) -> Tensor:
        features = self.features(batch.inputs)
        targets = F.one_hot(batch.labels, self.weights.shape[1]).double()
        found = self.ops.metric_update(self.weights, self.precision, features.double(), targets, chunk=features.shape[1])
        self.weights, self.precision = found.memory, found.precision
        self.means.gather(features, batch.labels)
        self._readout = None
        return ((found.outputs - targets).square().sum(-1).mean(1) / 2).float()

    def solve(self) -> Linear:
        return Linear(self.weights.float(), self.means.counts.new_zeros(self.means.counts.shape))
