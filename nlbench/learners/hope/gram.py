"""The gram of keys, of which half is kept: it is symmetric.

Of the rows of a strip, what lies right of the strip's first column is stored. Sixteen strips take 17/32 of the whole matrix, so
that keys are 1.37 times as wide at the same bytes, at no more arithmetic for a byte.

Shapes: S seeds, B rows, D width of a key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

STRIPS: Final = 16


class Gram:
    """A = Σ x xᵀ (S, D, D).

    strips  for each (S, h, D - start), h <= D / 16 rounded up: rows `start` to `start + h`, columns from `start` on
    """

    def __init__(self, width: int, like: Tensor) -> None:
        """Nothing yet; `like` (S,) has the type and the device."""
        height = -(-width // STRIPS)
        self.strips = [like.new_zeros(len(like), min(height, width - start), width - start) for start in range(0, width, height)]

    def add(self, rows: Tensor) -> None:
        """Add rows (S, B, D), in place. Cost: B D² / 2 multiply-adds a seed."""
        for strip in self.strips:
            right = rows[:, :, rows.shape[2] - strip.shape[2] :]
            strip.baddbmm_(right[:, :, : strip.shape[1]].mT, right)

    def parts(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield each strip behind which rows it has, a slice without None."""
        width = self.strips[0].shape[2]
        for strip in self.strips:
            start = width - strip.shape[2]
            yield slice(start, start + strip.shape[1]), strip

    def of(self, seeds: slice) -> Tensor:
        """Return some seeds' whole matrices (s, D, D), in float64."""
        first = self.strips[0][seeds]
        whole = first.new_empty(len(first), first.shape[2], first.shape[2], dtype=torch.float64)
        for rows, strip in self.parts():
            whole[:, rows, rows.start :] = strip[seeds]
            whole[:, rows.start :, rows] = strip[seeds].mT
        return whole

    def numel(self) -> int:
        """Return how many numbers are stored, of all seeds."""
        return sum(strip.numel() for strip in self.strips)
