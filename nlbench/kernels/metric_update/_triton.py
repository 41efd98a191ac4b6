"""Recursive least squares and protected steps on a GPU: products that write where they add, small systems in torch's float64."""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.kernels.gpu_products import differentiable_product, matrix_product
from nlbench.kernels.metric_update.reference import bounded


def update(memory: Tensor, precision: Tensor, keys: Tensor, targets: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Memory, precision and outputs; arguments as in `metric_update`, letters as in the reference."""
    outputs = []
    for k, v in zip(keys.split(chunk, 1), targets.split(chunk, 1), strict=True):
        projected, answers = differentiable_product(k, precision), differentiable_product(k, memory, tb=True)
        identity = torch.eye(k.shape[1], dtype=torch.float64, device=k.device)
        factor, _ = torch.linalg.cholesky_ex(identity + projected.double() @ k.double().mT)
        both = torch.cat([v - answers, projected], -1).double()
        solved = torch.linalg.solve_triangular(factor, both, upper=False).to(k.dtype)
        e, x = solved[..., : v.shape[-1]], solved[..., v.shape[-1] :]
        memory = differentiable_product(e, x, ta=True, addend=memory)
        precision = differentiable_product(x, x, ta=True, alpha=-1.0, addend=precision)
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
    directions = matrix_product(keys, projector)
    moved = surprises if bound == float("inf") else bounded(surprises, directions, bound)
    matrix_product(moved, directions, ta=True, alpha=-rate, beta=1.0, addend=weights, out=weights)
    if share or retain != 1:
        matrix_product(keys, keys, ta=True, alpha=share, beta=retain, addend=gram, out=gram)
