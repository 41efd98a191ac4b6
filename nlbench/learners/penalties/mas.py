"""Memory aware synapses: weights that move the length of the output are held where they were.

Source: Aljundi et al. 2018 (arXiv 1711.09601), eq. 3-5 and section 4.1.

    L(θ) + strength Σ_i Ω_i (θ_i - θ*_i)²,  Ω ← Ω + 1/n Σ_n |∂ ‖f(x_n)‖² / ∂θ_i|

f are the logits that competed; each sample's own gradient, and no label.

Told    when a task ends.
Stored  Ω and θ*, two networks' worth; up to `samples` inputs of the present task, until it ends.
Cost    two passes over the weights a step; at a task's end one backward pass over the kept samples.
"""

from __future__ import annotations

from torch import Tensor

from nlbench.learners.penalties.sampled import SampledPenalty


class Mas(SampledPenalty):
    """Importances are the mean absolute slopes of the outputs' squared length."""

    def outcomes(self, logits: Tensor) -> Tensor:
        return logits.square().sum(-1, keepdim=True)

    def size(self, gradient: Tensor) -> Tensor:
        return gradient.abs()
