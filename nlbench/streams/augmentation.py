"""Images changed as they are presented: cropped at a shifted place, turned over left to right.

Each change is drawn by seed, pass and place in it, so a seed sees the same with or without others, and a resumed run the same as
one that was never killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from nlbench import seeds as draws

MARGIN: Final = 4
"""Pixels of black around an image from which a crop of its own size is taken (He et al. 2016, section 4.2)."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How the samples of a pass are changed, in the order they are presented.

    corners  (S, n, 2) int64 in 0…2 MARGIN: row and column of a crop's corner; None where none is cropped
    flips    (S, n) bool; None where none is turned over
    black    what a raw 0 is among the images, for all or as (1, channels or 1, 1, 1)
    """

    corners: Tensor | None
    flips: Tensor | None
    black: Tensor | float = 0.0

    def part(self, place: slice) -> Augmentation:
        """Return that of some of the samples."""
        corners, flips = (each[:, place] if each is not None else None for each in (self.corners, self.flips))
        return replace(self, corners=corners, flips=flips)

    def __call__(self, images: Tensor) -> Tensor:
        """Return images (S, B, channels, h, w) of these samples, changed."""
        height, width = images.shape[-2:]
        shape, device = images.shape[:2], images.device
        rows, columns = (torch.arange(size, device=device).expand(*shape, size) for size in (height, width))
        if self.flips is not None:
            columns = torch.where(self.flips[..., None], columns.flip(-1), columns)
        if self.corners is not None:
            bare, images = images, images.new_empty(*images.shape[:3], height + 2 * MARGIN, width + 2 * MARGIN)
            images[:] = self.black
            images[..., MARGIN:-MARGIN, MARGIN:-MARGIN] = bare
            rows, columns = rows + self.corners[..., :1], columns + self.corners[..., 1:]
        rows, columns = rows.flatten(0, 1), columns.flatten(0, 1)
        several = torch.arange(len(rows), device=device)[:, None, None, None]
        channels = torch.arange(images.shape[2], device=device)[:, None, None]
        return images.flatten(0, 1)[several, channels, rows[:, None, :, None], columns[:, None, None]].unflatten(0, shape)


def augmentation(
    names: Sequence[str], seeds: Sequence[int], purpose: str, n: int, device: torch.device, black: Tensor | float = 0.0
) -> Augmentation | None:
    """Return the named changes of n samples, drawn under `augment/<purpose>`; None where none is named. A raw 0 is `black`."""
    if not names:
        return None
    drawn = [draws.generator(seed, f"augment/{purpose}") for seed in seeds]
    corners = np.stack([draw.integers(0, 2 * MARGIN + 1, (n, 2)) for draw in drawn])
    flips = np.stack([draw.random(n) < 0.5 for draw in drawn])
    return Augmentation(
        torch.from_numpy(corners).to(device) if "crop" in names else None,
        torch.from_numpy(flips).to(device) if "flip" in names else None,
        black,
    )
