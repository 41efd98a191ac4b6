"""The residual block in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.kernels.block_step import BlockWeights


def block(x: Tensor, weights: BlockWeights, activation: str, eps: float) -> Tensor:
    """The block's output; arguments as in `block_step`."""
    z = F.layer_norm(x, x.shape[-1:], eps=eps) * weights.norm_weight[:, None] + weights.norm_bias[:, None]
    hidden = torch.baddbmm(weights.up_bias[:, None], z, weights.up_weight.mT)
    return x + torch.baddbmm(weights.down_bias[:, None], getattr(F, activation)(hidden), weights.down_weight.mT)
