"""Gather and apply, tensor by tensor, in plain torch."""

from __future__ import annotations

from torch import Tensor


def apply(moves: list[tuple[Tensor, Tensor, Tensor | None, float | None]]) -> None:
    """For every (parameter, gradient, gathered or None, rate or None if not due): gather, and apply if due."""
    for parameter, gradient, gathered, rate in moves:
        if gathered is None:
            parameter.sub_(gradient, alpha=rate or 0.0)
            continue
        gathered += gradient
        if rate is not None:
            parameter.sub_(gathered, alpha=rate)
            gathered.zero_()
