"""Gather and apply on a GPU: every parameter, gradient and sum is read and written once."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor


@triton.jit(do_not_specialize=("size",))
def move(parameter, gradient, gathered, rate, size, WAITS: tl.constexpr, DUE: tl.constexpr, BLOCK: tl.constexpr):
    """One block of one tensor: the gradient into its sum if the level WAITS, and the step and a fresh sum if it is DUE."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    step = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
    if WAITS:
        step += tl.load(gathered + place, mask=inside, other=0.0).to(tl.float32)
        tl.store(gathered + place, (step * (0.0 if DUE else 1.0)).to(gathered.dtype.element_ty), mask=inside)
    if DUE:
        value = tl.load(parameter + place, mask=inside, other=0.0).to(tl.float32) - rate * step
        tl.store(parameter + place, value.to(parameter.dtype.element_ty), mask=inside)


def apply(moves: list[tuple[Tensor, Tensor, Tensor | None, float | None]]) -> None:
    """For every (parameter, gradient, gathered or None, rate or None if not due): gather, and apply if due."""
    for parameter, gradient, gathered, rate in moves:
        if parameter.numel():
            sums = gradient if gathered is None else gathered
            options = {"WAITS": gathered is not None, "DUE": rate is not None, "BLOCK": 1024}
            grid = (triton.cdiv(parameter.numel(), 1024),)
            move[grid](parameter, gradient.contiguous(), sums, rate or 0.0, parameter.numel(), **options, num_warps=4)
