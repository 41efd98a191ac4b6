"""What analytic learners gather of features, and what they make of covariances. Everything is summed, in any order.

Shapes: S seeds, B samples, D features, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Means(NamedTuple):
    """How many samples of each class there were, (S, C), and the sums of their features, (S, C, D)."""

    counts: Tensor
    sums: Tensor

    @classmethod
    def none(cls, seeds: int, classes: int, width: int, device: torch.device) -> Means:
        """Return those of no sample."""
        return cls(torch.zeros(seeds, classes, device=device), torch.zeros(seeds, classes, width, device=device))

    def gather(self, features: Tensor, labels: Tensor) -> None:
        """Take in features (S, B, D) of labels (S, B), in place."""
        one_hot = F.one_hot(labels, self.counts.shape[1]).to(features.dtype)
        self.counts.add_(one_hot.sum(1))
        self.sums.baddbmm_(one_hot.mT, features)

    def of_classes(self) -> Tensor:
        """Return the means (S, C, D); zero for a class that was never met."""
        return self.sums / self.counts.clamp_min(1)[..., None]


def within(gram: Tensor, means: Means) -> Tensor:
    """Return the covariance (S, D, D) of features around their class's mean, in float64, from Σ φ φᵀ.

    (Σ φ φᵀ - Σ_c n_c μ_c μ_cᵀ) / n, with what float32 may have rounded off added to the diagonal; the identity of no sample.
    Cost: C D² multiply-adds a seed.
    """
    n = means.counts.sum(1).clamp_min(1)[:, None, None].double()
    centres = means.of_classes().double()
    covariance = (gram.double() - centres.mT @ (means.counts[..., None] * centres)) / n
    floor = torch.finfo(gram.dtype).eps * gram.diagonal(dim1=1, dim2=2).mean(1).double()[:, None] / n[..., 0]
    covariance.diagonal(dim1=1, dim2=2).add_(torch.where(floor > 0, floor, 1.0))
    return covariance


def shrunk(covariance: Tensor, n: Tensor) -> Tensor:
    """Return covariances (S, D, D) of n (S,) samples moved towards multiples of the identity, by as much as is best for normal
    samples: (1 - ρ) Σ + ρ tr(Σ) / D I.

    Source: the oracle approximating shrinkage of Chen et al. 2010, eq. 23.
    """
    width = covariance.shape[-1]
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    trace, squares = diagonal.sum(1), covariance.square().sum((1, 2))
    more = (1 - 2 / width) * squares + trace.square()
    less = (n + 1 - 2 / width) * (squares - trace.square() / width)
    share = torch.where(less > 0, (more / less.clamp_min(torch.finfo(less.dtype).tiny)).clamp_max(1.0), 1.0)
    moved = covariance * (1 - share)[:, None, None]
    moved.diagonal(dim1=1, dim2=2).add_((share * trace / width)[:, None])
    return moved
