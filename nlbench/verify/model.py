"""What a verdict says, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["holds", "does not hold", "undecided", "not comparable"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one statement, and the numbers it stands on.

    low, high        the interval of `mean`: of the value, the difference or the slope
    expected         what it must reach: one number or two
    seeds_to_tell    of what is undecided: as many would be enough if the spread stays as it is; None if no 1,000 are
    """

    statement: str
    verdict: Verdict
    reason: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    expected: tuple[float, ...] = ()
    p: float | None = None
    seeds: int = 0
    seeds_to_tell: int | None = None
