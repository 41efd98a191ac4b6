"""How large the parts are: rules of what a sample is and how many numbers or pixels it has. Imports no torch."""

from __future__ import annotations

import math
from typing import Final, Literal

Kind = Literal["image", "vector", "features"]

SCALE: Final = {"image": 43, "vector": 75, "features": 100}
"""Features a key has for n numbers in a sample, or pixels in an image: this times n^(2/3)."""
LEAST: Final = 2000
"""Features of a key of a vector at least."""
MOST: Final = 4000
"""Features of a key at most."""
GROUPS: Final = 4
"""In which given features are read: what they read is averaged, so that less of it is the chance by which features were drawn."""
LONG: Final = 256
"""Numbers of a vector from which on levels are learned where all tasks share their labels."""
BESIDE_LEVELS: Final = 500
"""Features that contexts are found in where levels are learned."""
GRID: Final = 3
"""Places along each side of an image that a filter is read at."""
SMALL: Final = 13
"""Longest side of an image that one layer of filters reads whole enough."""


def width(kind: Kind, numbers: int) -> int:
    """Return the features of a key for samples of so many numbers: 688 for an image of 8 x 8, 3656 for one of 28 x 28, 2000 for a
    vector of up to 137 numbers.
    """
    by_rule = min(round(SCALE[kind] * numbers ** (2 / 3)), MOST)
    return by_rule if kind == "image" else max(by_rule, LEAST)


def groups(kind: Kind) -> int:
    """Return in how many groups a key's features are, each with a metric of its own."""
    return GROUPS if kind == "features" else 1


def in_groups(features: int, groups: int) -> int:
    """Return the features of each of the groups whose metrics together take no more room than one of so many features."""
    return math.isqrt(features**2 // groups)


def levels(numbers: int) -> tuple[int, int]:
    """Return the widths of the two levels for vectors of so many numbers: 1000 and 500 for 784."""
    wide = round(11.76 * numbers ** (2 / 3))
    return wide, wide // 2


def has_levels(kind: Kind, numbers: int, scenario: str) -> bool:
    """Return whether levels are learned: where vectors are long and every task has all labels. Levels whose tasks have labels of
    their own forget.
    """
    return kind == "vector" and numbers > LONG and scenario == "domain-il"


def kernel(side: int) -> int:
    """Return the side of a layer's kernels on maps of this side: the smallest from 3 that leaves whole multiples of the grid."""
    return next(size for size in range(3, 3 + GRID) if (side - size + 1) % GRID == 0)
