"""Recursive least squares in chunks, protected steps, and the inverse of a metric, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def update(memory: Tensor, precision: Tensor, keys: Tensor, targets: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Memory, precision and outputs; arguments as in `metric_update`.

    With L Lᵀ = I + K P Kᵀ, e = L⁻¹ (V - K Mᵀ) and x = L⁻¹ K P: M += eᵀ x and P -= xᵀ x.
    """
    outputs = []
    for k, v in zip(keys.split(chunk, 1), targets.split(chunk, 1), strict=True):
        projected, answers = k @ precision, k @ memory.mT
        identity = torch.eye(k.shape[1], dtype=torch.float64, device=k.device)
        factor, _ = torch.linalg.cholesky_ex(identity + projected.double() @ k.double().mT)
        both = torch.cat([v - answers, projected], -1).double()
        solved = torch.linalg.solve_triangular(factor, both, upper=False).to(k.dtype)
        e, x = solved[..., : v.shape[-1]], solved[..., v.shape[-1] :]
        memory = memory + e.mT @ x
        precision = precision - x.mT @ x
        outputs.append(answers)
    return memory, precision, torch.cat(outputs, 1) if outputs else targets


def step(
    weights: Tensor,
    gram: Tensor,
    projector: Tensor,
    keys: Tensor,
    surprises: Tensor,
    rate: float,
    bound: float,
    share: float,
    retain: float,
) -> None:
    """The protected step and the metric's new keys, in place; arguments as in `metric_step`."""
    move = surprises.mT @ (keys @ projector)
    length = torch.linalg.matrix_norm(move, keepdim=True)
    weights -= rate * move * (bound / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp_max(1.0)
    gram.mul_(retain).add_(keys.mT @ keys, alpha=share)


def inverse(gram: Tensor, ridge: float) -> Tensor:
    """(I + gram / ridge)⁻¹; arguments as in `protecting`."""
    identity = torch.eye(gram.shape[-1], dtype=torch.float64, device=gram.device)
    factors = [torch.linalg.cholesky(identity + each.double() / ridge) for each in gram]
    return torch.stack([torch.cholesky_inverse(factor) for factor in factors]).to(gram.dtype)
