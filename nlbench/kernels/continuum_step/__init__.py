"""One step of all levels of a continuum memory: gather gradients, and apply them where a level's period ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor

from nlbench.kernels.backends import Backend, Bound, implementation

Reduction = Literal["mean", "sum"]


def continuum_step(
    parameters: Sequence[Sequence[Tensor]],
    gradients: Sequence[Sequence[Tensor]],
    gathered: Sequence[Sequence[Tensor]],
    *,
    periods: Sequence[int],
    rates: Sequence[float],
    step: int,
    reduction: Reduction = "mean",
    backend: Backend | Bound = "auto",
) -> tuple[bool, ...]:
    """Which levels were due at step number `step` (from 1). Parameters and gathered gradients change in place.

    parameters  the tensors of every level; gradients of the same shapes; gathered too, zero to begin with
    periods     C of every level: at multiples of C, θ -= rate × (mean or sum of its C gradients), and gathered returns to zero
    rates       SGD rate of every level

    Nothing is due at step 0, and a pending partial chunk stays pending. Parameters and gathered must be contiguous.
    A level of period 1 never touches its `gathered`, which may be empty.

    Source: Nested Learning (arXiv 2512.24695), eq. 71 with C terms instead of C + 1.
    """
    if reduction not in get_args(Reduction):
        raise ValueError(f"continuum_step: reduction must be one of {', '.join(get_args(Reduction))}, got {reduction!r}")
    if step < 1 or min(periods) < 1:
        raise ValueError(f"continuum_step: steps and periods count from 1, got step {step} and periods {tuple(periods)}")
    if min(rates) < 0:
        raise ValueError(f"continuum_step: rates must be at least 0, got {tuple(rates)}")
    if len({len(parameters), len(gradients), len(gathered), len(periods), len(rates)}) > 1:
        raise ValueError("continuum_step: parameters, gradients, gathered, periods and rates must name the same levels")
    due = tuple(step % period == 0 for period in periods)
    moves: list[tuple[Tensor, Tensor, Tensor | None, float | None]] = []
    for level, period in enumerate(periods):
        waits = period > 1
        rate = (rates[level] / period if reduction == "mean" else rates[level]) if due[level] else None
        for i, (parameter, gradient) in enumerate(zip(parameters[level], gradients[level], strict=True)):
            sums = gathered[level][i] if waits else None
            for each in (parameter, sums):
                if each is not None and (each.shape != gradient.shape or not each.is_contiguous()):
                    raise ValueError(
                        f"continuum_step: tensor {i} of level {level} differs in shape from its gradient or is not contiguous"
                    )
            moves.append((parameter, gradient, sums, rate))
    implementation(__name__, backend, parameters[0][0]).apply(moves)
    return due
