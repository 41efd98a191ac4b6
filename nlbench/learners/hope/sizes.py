"""How large the parts are: rules of what a sample is and how many numbers or pixels it has. Imports no torch."""

from __future__ import annotations

from typing import Final, Literal

Kind = Literal["image", "vector", "features"]

SCALE: Final = {"image": 32, "vector": 56, "features": 56}
"""Features a key has for n numbers in a sample, or pixels in an image: this times n^(2/3)."""
GRID: Final = 3
"""Places along each side of an image that a filter is read at."""
SMALL: Final = 12
"""Longest side of an image that one layer of filters reads whole enough."""


def width(kind: Kind, numbers: int) -> int:
    """Return the features of a key for samples of so many numbers: 512 for an image of 8 x 8, 2721 for one of 28 x 28."""
    return round(SCALE[kind] * numbers ** (2 / 3))


def kernel(side: int) -> int:
    """Return the side of a layer's kernels on maps of this side: the smallest from 3 that leaves whole multiples of the grid."""
    return next(size for size in range(3, 3 + GRID) if (side - size + 1) % GRID == 0)
