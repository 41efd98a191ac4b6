"""The logits in batched torch products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def logits(weights: Sequence[Tensor], biases: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """(S, N, n_classes); arguments as in `mlp_logits`."""
    values = inputs.expand(len(weights[0]), -1, -1)
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        values = torch.baddbmm(bias[:, None], values.relu_() if i else values, weight.mT)
    return values
