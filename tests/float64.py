"""Draws and comparisons in float64 that tests of nested learning share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N = 8


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> bool:
    return actual.shape == expected.shape and float((actual - expected).detach().abs().max()) <= tolerance


def run_beside(ours: torch.optim.Optimizer, theirs: torch.optim.Optimizer, steps: int = 30) -> float:
    """Return the largest difference after equal gradients."""
    mine, other = (o.param_groups[0]["params"][0] for o in (ours, theirs))
    for t in range(steps):
        mine.grad = draw(*mine.shape, seed=10 + t)
        other.grad = mine.grad.clone()
        ours.step()
        theirs.step()
    return float((mine - other).detach().abs().max())


def network() -> nn.Sequential:
    """Two square layers, so that a layer cannot be told by its shape, and a head."""
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6, bias=False), nn.Tanh(), nn.Linear(6, 3)).double()
    for index, parameter in enumerate(model.parameters()):
        parameter.data.copy_(draw(*parameter.shape, seed=index) / 2)
    return model


def loss_of(model: nn.Module, reduction: str = "mean") -> Tensor:
    return F.cross_entropy(model(draw(N, 6, seed=50)), torch.arange(N) % 3, reduction=reduction)
