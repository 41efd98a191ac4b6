"""Elastic weight consolidation: weights that the answers depend on are held where they were.

Source: Kirkpatrick et al. 2017 (arXiv 1612.00796), eq. 3; the online form Huszár 2018 (arXiv 1712.03847) and Schwarz et al. 2018
(arXiv 1805.06370), section 3.1; the Fisher information as in van de Ven 2025 (arXiv 2502.11756), "exact" with n = 500, or of the
likeliest answer alone.

    L(θ) + strength/2 Σ_k Σ_i F_ki (θ_i - θ*_ki)²              separate: a term for each task k that ended
    L(θ) + strength/2 Σ_i Ω_i (θ_i - θ*_i)², Ω ← decay Ω + F   online: one term, around the latest weights
    F_i = 1/n Σ_n Σ_c p(c | x_n) (∂ log p(c | x_n) / ∂θ_i)²    exact
    F_i = 1/n Σ_n (∂ max_c log p(c | x_n) / ∂θ_i)²             likeliest

over the classes that competed. Separate terms add up to one quadratic, around the mean of the θ*_k weighted by F_k, so that both
forms cost and store the same. F is the exact square of each sample's own gradient, of the model's answers: no square of a batch's
mean, no labels.

Told    when a task ends.
Stored  Ω and θ*, two networks' worth; up to `samples` inputs of the present task, until it ends.
Cost    two passes over the weights a step; at a task's end C backward passes over the kept samples, or one of the likeliest.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nlbench.batch import Problem
from nlbench.learners.penalties.config import EwcConfig
from nlbench.learners.penalties.sampled import SampledPenalty
from nlbench.networks.network import Tree


class Ewc(SampledPenalty):
    """Importances are the diagonal of the Fisher information."""

    factor: ClassVar[float] = 1.0

    def __init__(self, config: EwcConfig, problem: Problem) -> None:
        self._separate = config.terms == "separate"
        self._decay = config.decay
        self._likeliest = config.fisher == "likeliest"
        super().__init__(config, problem)

    def outcomes(self, logits: Tensor) -> Tensor:
        shares = logits.log_softmax(-1)
        if self._likeliest:
            return shares.max(-1, keepdim=True).values
        return shares * (shares / 2).exp().detach()  # squared, its gradient is p (∂ log p)²

    def size(self, gradient: Tensor) -> Tensor:
        return gradient.square()

    @torch.no_grad()
    def consolidate(self, found: Tree, *, keep: float = 1.0) -> None:
        if not self._separate:
            super().consolidate(found, keep=self._decay)
            return
        for name, fisher in found.items():
            total = self.importances[name].add_(fisher)
            share = torch.where(total > 0, fisher / total, 1.0)
            self.means[name].lerp_(self.parameters[name], share)
