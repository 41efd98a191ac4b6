"""The memories of a HOPE learner: matrices whose last column is their bias, which the last key, a constant 1, multiplies.

Shapes: S seeds, B tokens of a chunk, D width of a key, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nlbench import seeds as draws
from nlbench.batch import Problem


def with_constant(inputs: Tensor) -> Tensor:
    """Return keys (..., D + 1): the inputs (..., D) and a constant 1, so that a bias is one more weight."""
    return torch.cat([inputs, torch.ones_like(inputs[..., :1])], -1)


def rectified(answers: Tensor, blank: Tensor) -> Tensor:
    """Return the keys (S, N, V + 1) of the memory above, made of answers (S, N, V) in a tensor of ones, `blank`."""
    torch.clamp_min(answers, 0.0, out=blank[..., :-1])
    return blank


def joined(chunks: Sequence[Tensor]) -> Tensor:
    """Return chunks (S, B, ...) as one (S, n B, ...); a single one as it is."""
    return torch.cat(list(chunks), 1) if len(chunks) > 1 else chunks[0]


def own_values(readings: Tensor, labels: Tensor, slack: float) -> Tensor:
    """Return the values (S, B, C) that a memory writes for labels (S, B, C) of 0 and 1: its readings, brought within the labels.

    A reading may exceed its label's 1, or fall below another's 0, by up to `slack` without being an error; 0 writes the labels.
    """
    return torch.where(labels > 0, readings.clamp(1.0, 1.0 + slack), readings.clamp(-slack, 0.0))


def initial(problem: Problem, name: str, d_in: int, d_out: int) -> Tensor:
    """Return a memory (S, d_out, d_in + 1) drawn from N(0, 2 / d_in), the scale that ReLUs keep (He et al. 2015); no bias."""
    weight = torch.from_numpy(draws.normal(problem.seeds, f"init/{name}", (d_out, d_in))).to(problem.device) * (2.0 / d_in) ** 0.5
    return torch.cat([weight, weight.new_zeros(*weight.shape[:-1], 1)], -1)


def kept_widths(widths: list[int], wanted: list[bool]) -> list[int]:
    """Return the width of each memory's keys, or 0 where nothing is wanted."""
    return [width + 1 if keep else 0 for width, keep in zip(widths, wanted, strict=False)]


def with_last(order: Tensor) -> Tensor:
    """Return the order (S, n) of the inputs as one of n + 1 columns: the constant stays last."""
    return torch.cat([order, torch.full_like(order[:, :1], order.shape[1])], 1)
