"""Memory aware synapses: weights that move the length of the output are held where they were.

Source: Aljundi et al. 2018 (arXiv 1711.09601), eq. 3-5 and section 4.1.

    L(θ) + strength Σ_i Ω_i (θ_i - θ*_i)²,  Ω ← decay Ω + 1/n Σ_n |∂ ‖f(x_n)‖² / ∂θ_i|

f are the logits that competed; each sample's own gradient, or that of a mean over `together` samples, and no label.

Told    when a task ends.
Stored  Ω and θ*, two networks' worth; up to `samples` inputs of the present task, until it ends.
Cost    two passes over the weights a step; at a task's end one backward pass over the kept samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.batch import Problem
from nlbench.learners.penalties.config import MasConfig
from nlbench.learners.penalties.sampled import SampledPenalty
from nlbench.networks.network import Tree


class Mas(SampledPenalty):
    """Importances are the mean absolute slopes of the outputs' squared length."""

    def __init__(self, config: MasConfig, problem: Problem) -> None:
        self._together, self._decay = config.together, config.decay
        super().__init__(config, problem)

    def outcomes(self, logits: Tensor) -> Tensor:
        return logits.square().sum(-1, keepdim=True)

    def size(self, gradient: Tensor) -> Tensor:
        return gradient.abs()

    def sums(self, parameters: Tree, inputs: Tensor) -> Tree:
        if self._together == 1:
            return super().sums(parameters, inputs)
        found = {name: torch.zeros_like(value) for name, value in parameters.items()}
        for group in inputs.split(self._together, dim=1):
            with torch.enable_grad():
                length = self._outcomes(parameters, group).mean(1).sum()
            slopes = torch.autograd.grad(length, list(parameters.values()), allow_unused=True)
            for total, slope in zip(found.values(), slopes, strict=True):
                if slope is not None:
                    total.add_(self.size(slope), alpha=group.shape[1])
        return found

    def consolidate(self, found: Tree, *, keep: float = 1.0) -> None:
        super().consolidate(found, keep=keep * self._decay)
