"""Orthogonal weight modification (OWM): steps along what mean inputs of earlier batches leave open.

Source: Zeng, Chen, Cui & Yu 2019 (arXiv 1810.01256; Nature Machine Intelligence), eq. 1-3, in the form of their published code of
shuffled MNIST: one α for all batches, and a projector that knows the present batch too.

    P ← P - P r (α + rᵀ P r)⁻¹ rᵀ P      r: the mean input of a layer over a batch, with a 1 for its bias
    [W b] ← [W b] - rate ∇[W b] P

so that P = (I + Σ r rᵀ / α)⁻¹ over all batches so far, by recursive least squares. Of a convolution, each patch's mean is such
an r.

Told    nothing beyond batches.
Stored  P of every layer: 4 D² bytes for D inputs.
Cost    (O + 1) D² multiply-adds a layer of O outputs beside a plain step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.batch import Problem
from nlbench.learners.projections.config import OwmConfig
from nlbench.learners.projections.projection import Projecting, projected
from nlbench.networks.network import Tree


class Owm(Projecting):
    """Steps along P, which closes the directions of mean inputs."""

    def __init__(self, config: OwmConfig, problem: Problem) -> None:
        self._alpha = config.alpha
        super().__init__(config, problem)

    def first(self, seeds: int, width: int) -> Tensor:
        return torch.eye(width).repeat(seeds, 1, 1)

    def adjust(self, gradients: Tree) -> Tree:
        found = dict(gradients)
        for layer, inputs in self.seen.items():
            means = inputs.mean(1)
            close(self.matrices[layer], means if means.ndim > 2 else means[:, None], self._alpha)
            found |= projected(gradients, layer, self.matrices[layer])
        self.seen = {}
        return found


def close(projector: Tensor, inputs: Tensor, alpha: float) -> None:
    """Make projector (S, D, D), in place, what it is after inputs (S, N, D) one after another.

    P -= P Rᵀ (α I + R P Rᵀ)⁻¹ R P. Cost: N D² multiply-adds a seed.
    """
    directions = inputs @ projector
    system = directions @ inputs.mT
    system.diagonal(dim1=1, dim2=2).add_(alpha)
    if system.shape[1] == 1:
        projector.baddbmm_(directions.mT, directions / system, alpha=-1)
    else:
        solved = torch.linalg.solve_triangular(torch.linalg.cholesky_ex(system)[0], directions, upper=False)
        projector.baddbmm_(solved.mT, solved, alpha=-1)
