"""FeCAM: the nearest class, each in a covariance of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.batch import Problem
from nlbench.errors import NlbenchError
from nlbench.kernels.metric_update import whole
from nlbench.learners.analytic.analytic import Analytic, Linear
from nlbench.learners.analytic.config import FecamConfig


class Fecam(Analytic):
    """The class of the least Mahalanobis distance: argmin_c (φ̂ - μ̂_c)ᵀ Σ̂_c⁻¹ (φ̂ - μ̂_c).

    φ̂ is φ to the power of 1/2 (Tukey's transformation), of unit length, and μ̂_c the same of the class's mean. With Σ_c the
    covariance of the class's transformed features, V1 its mean variance and V2 its mean covariance, Σ̂_c is
    Σ_c + γ1 V1 I + γ2 V2 (1 - I) with each entry divided by the standard deviations of its two features.

    Told: nothing beyond batches. Keeps: means, and a second moment and a sum of transformed features a class,
    4 C (D² + 2 D + 1) bytes.
    Cost: C B D² multiply-adds a batch; C D³ / 3 once a prediction after it, and C D² a sample.
    Source: Goswami et al. 2023 (arXiv 2309.14062), eq. 5-9, with lengths as in their published code; γ1 = γ2 = 1 as there.
    """

    def __init__(self, config: FecamConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        self._config = config
        seeds, classes, width = len(problem.seeds), problem.n_classes, self.network.width
        if config.power < 1 and self._may_be_negative(problem):
            raise NlbenchError(
                f"learner.power: {config.power} needs features that are never negative, and those of this network are.",
                'Set power = 1.0, or network.kind = "random-relu".',
            )
        self.moments = torch.zeros(seeds, classes, width, width, device=problem.device)
        self.transformed = torch.zeros(seeds, classes, width, device=problem.device)
        self._factors: Tensor | None = None

    made_anew = (*Analytic.made_anew, "_factors")

    def gather(self, features: Tensor, labels: Tensor) -> None:
        features = features**self._config.power
        one_hot = F.one_hot(labels, self.means.counts.shape[1]).to(features.dtype)
        self.transformed.baddbmm_(one_hot.mT, features)
        of_classes = one_hot.mT[..., None] * features[:, None]
        self.ops.accumulate(self.moments.flatten(0, 1), of_classes.flatten(0, 1))

    def solve(self) -> Linear:
        """Return the centres μ̂ as weights, and no bias; the factors of the inverses beside them."""
        self._factors = torch.cat(
            [self._factors_of(*own) for own in zip(self.moments, self.transformed, self.means.counts, strict=True)]
        )
        return Linear(F.normalize(self.means.of_classes() ** self._config.power, dim=-1), self.means.counts)

    def logits(self, features: Tensor) -> Tensor:
        assert self._readout is not None
        assert self._factors is not None
        seeds, classes, _ = self._readout.weights.shape
        apart = F.normalize(features**self._config.power, dim=-1)[:, None] - self._readout.weights[:, :, None]
        within = torch.linalg.solve_triangular(self._factors, apart.flatten(0, 1).mT, upper=False)
        return -within.square().sum(1).view(seeds, classes, -1).mT

    def _factors_of(self, moments: Tensor, sums: Tensor, counts: Tensor) -> Tensor:
        """Return the Cholesky factors (C, D, D) of one seed's normalised covariances."""
        total = sums.double()[..., None]
        scatter = whole(moments).double() - total @ total.mT / counts.double().clamp_min(1)[:, None, None]
        rounded_off = torch.finfo(moments.dtype).eps * moments.diagonal(dim1=1, dim2=2).double().sum(1, keepdim=True)
        scatter.diagonal(dim1=1, dim2=2).add_(rounded_off)
        return torch.linalg.cholesky(self._normalised(scatter)).float()

    def _normalised(self, covariance: Tensor) -> Tensor:
        """Return covariances (C, D, D), or multiples of them, shrunk and divided by their deviations; the identity of a class
        without any.
        """
        width = covariance.shape[-1]
        diagonal = covariance.diagonal(dim1=-2, dim2=-1)
        variance = diagonal.mean(-1)[..., None, None]
        other = (covariance.sum((-2, -1)) - diagonal.sum(-1))[..., None, None] / max(width * (width - 1), 1)
        more, less = self._config.shrinkage
        identity = torch.eye(width, dtype=covariance.dtype, device=covariance.device)
        shrunk = covariance + more * variance * identity + less * other * (1 - identity)
        shrunk = torch.where(variance > 0, shrunk, identity)
        deviation = shrunk.diagonal(dim1=-2, dim2=-1).sqrt()
        return shrunk / (deviation[..., None] * deviation[..., None, :])

    def _may_be_negative(self, problem: Problem) -> bool:
        """Return whether features of made inputs are negative."""
        inputs = torch.arange(64 * problem.n_inputs, device=problem.device).sin().view(1, 64, *problem.input_shape)
        return bool((self.features(inputs) < 0).any())
