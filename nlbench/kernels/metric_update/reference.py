"""Recursive least squares in chunks, protected steps, and the inverse of a metric, in plain torch."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

RAISES: Final = (1, 9, 90, 900, 9000)
"""By how many times its rounding errors a metric's diagonal is raised, one after the other, until it is positive definite."""


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


def directed_step(
    weights: Tensor,
    gram: Tensor,
    keys: Tensor,
    directions: Tensor,
    surprises: Tensor,
    rate: float,
    bound: float,
    share: float,
    retain: float,
) -> None:
    """The step of `metric_step` along its directions K P (S, B, D), and the metric's new keys, in place."""
    weights.baddbmm_(bounded(surprises, directions, bound).mT, directions, alpha=-rate)
    if share or retain != 1:
        gram.baddbmm_((share * keys).mT, keys, beta=retain)


def bounded(surprises: Tensor, directions: Tensor, bound: float) -> Tensor:
    """The surprises Δ (S, B, V), made smaller where the step Δᵀ K along directions K (S, B, D) would exceed `bound` in the
    Frobenius norm: ‖Δᵀ K‖² = Σ (Δ Δᵀ) (K Kᵀ).
    """
    squared = ((surprises @ surprises.mT) * (directions @ directions.mT)).sum((1, 2))
    smaller = (bound * squared.clamp_min(torch.finfo(squared.dtype).tiny).rsqrt()).clamp_max(1.0)
    return surprises * smaller[:, None, None]


def read_out(keys: Tensor, memory: Tensor, labels: Tensor, classes: Tensor, surprise: float) -> tuple[Tensor, Tensor, Tensor]:
    """Losses, errors and the errors below; arguments as in `read_out` of the op."""
    losses, errors = token_errors(keys @ memory.mT, labels, classes, surprise)
    return losses, errors, through_relu(errors @ memory, keys)


def token_errors(answers: Tensor, labels: Tensor, classes: Tensor, surprise: float) -> tuple[Tensor, Tensor]:
    """Every token's softmax cross-entropy (S, B) for answers (S, B, C), and the gradient of their mean, each token's times its
    rate; the others as in `read_out` of the op.
    """
    logs = answers.masked_fill(~classes, -torch.inf).log_softmax(-1)
    softmax, one_hot = logs.exp(), F.one_hot(labels, answers.shape[-1]).to(answers.dtype)
    losses = -logs.gather(-1, labels[..., None])[..., 0]
    return losses, (softmax - one_hot) * (own_rates(softmax, one_hot, classes, surprise) / answers.shape[1])


def own_rates(answers: Tensor, labels: Tensor, classes: Tensor, surprise: float) -> Tensor:
    """Each token's rate (S, B, 1), 1 + surprise * what it lacks of a margin of 1 over the best wrong class.

    answers and labels (S, B, C), labels of 0 and 1; classes (C,) are those that compete.
    """
    right = (answers * labels).sum(-1, keepdim=True)
    wrong = answers.masked_fill(labels.bool() | ~classes, -torch.inf).amax(-1, keepdim=True)
    return 1.0 + surprise * (1.0 - right + wrong).clamp(0.0, 1.0)


def through_relu(errors: Tensor, keys: Tensor) -> Tensor:
    """Errors of keys (S, B, D) as those of what was rectified to make them, (S, B, D - 1): the last key is a constant."""
    return torch.ops.aten.threshold_backward(errors[..., :-1], keys[..., :-1], 0.0)


def accumulate(gram: Tensor, keys: Tensor, retain: float) -> None:
    """The metric's new keys, in place; arguments as in `accumulate` of the op."""
    gram.baddbmm_(keys.mT, keys, beta=retain)


def whole(gram: Tensor) -> Tensor:
    """The whole of a gram (..., D, D), a new tensor; as in `whole` of the op."""
    return gram.triu().add_(gram.triu(1).mT)


def inverse(gram: Tensor, ridge: float) -> tuple[Tensor, int]:
    """(I + gram / ridge)⁻¹, and the leading minor that is not positive or 0; seed by seed, arguments as in `protecting`."""
    found, failed = torch.empty_like(gram), 0
    for own, target in zip(gram, found, strict=True):
        shifted = whole(own.double()).div_(ridge)
        shifted.diagonal().add_(1.0)
        factor, minor = _factor(shifted, gram.dtype)
        target.copy_(torch.cholesky_inverse(factor))
        failed = failed or minor
    return found, failed


def solve(gram: Tensor, products: Tensor, ridge: float) -> tuple[Tensor, int]:
    """The memory, and the leading minor that is not positive or 0; seed by seed, arguments as in `least_squares`."""
    memory, failed = torch.empty_like(products), 0
    for own, right, target in zip(gram, products, memory, strict=True):
        shifted = whole(own.double())
        shifted.diagonal().add_(ridge)
        factor, minor = _factor(shifted, gram.dtype)
        target.copy_(torch.cholesky_solve(right.double(), factor))
        failed = failed or minor
    return memory.mT.contiguous(), failed


def _factor(matrix: Tensor, summed_in: torch.dtype) -> tuple[Tensor, int]:
    """The Cholesky factor of a float64 matrix (D, D) whose diagonal it raises, in place, until there is one; the failed minor."""
    rounding = torch.finfo(summed_in).eps / 2 * float(matrix.diagonal().sum())
    for raise_by in RAISES:
        matrix.diagonal().add_(raise_by * rounding)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if not failed:
            break
    return factor, int(failed)
