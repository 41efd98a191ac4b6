"""How large weights are: what loss of plasticity shows first (Dohare et al. 2024, extended data fig. 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.learners.gradient import GradientLearner


class Measured(GradientLearner):
    """Records the mean absolute weight at every boundary, as `weights.magnitude`."""

    def diagnostics(self) -> dict[str, Tensor]:
        values = list(self.parameters.values())
        total = torch.stack([value.detach().abs().flatten(1).sum(1) for value in values]).sum(0)
        return {"weights.magnitude": total / sum(value[0].numel() for value in values)}
