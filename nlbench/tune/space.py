"""What is searched: of each key a list of values, or a range of numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import exp, log, prod
from typing import Final

from nlbench import seeds as draws
from nlbench.errors import NlbenchError
from nlbench.specs import listed

_NUMBER: Final = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_RANGE: Final = re.compile(rf"(log:)?({_NUMBER})\.\.({_NUMBER})")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones if both are. `log`: uniform in their logarithm."""

    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> str:
        """Return the number at a share in [0, 1] of the way from low to high, as the text of an override."""
        low, high = (log(self.low), log(self.high)) if self.log else (self.low, self.high)
        value = low + share * (high - low)
        value = min(max(exp(value) if self.log else value, self.low), self.high)
        return str(round(value)) if self.whole else f"{value:.6g}"

    def __str__(self) -> str:
        ends = (f"{end:.0f}" if self.whole else f"{end:g}" for end in (self.low, self.high))
        return f"{'log:' * self.log}{'..'.join(ends)}"


Space = Mapping[str, Sequence[str] | Range]


def parsed(text: str) -> list[str] | Range:
    """Return what is searched of a key: `0.1,0.3` lists values; `16..256` is a range, whole numbers where both ends are;
    `log:0.001..0.3` one whose logarithm is uniform. Raises `NlbenchError` for a range that has no inside.
    """
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        return listed(text)
    logarithmic, low, high = found.groups()
    whole = not set(f"{low}{high}") & set(".e")
    if float(low) >= float(high) or (logarithmic and float(low) <= 0):
        raise NlbenchError(f"--space {text}: a range goes up, and one of logarithms from above 0.", "Such as log:0.001..0.3.")
    return Range(float(low), float(high), bool(logarithmic), whole)


def candidates(space: Mapping[str, Sequence[str]], budget: int) -> list[dict[str, str]]:
    """Return the grid of the space, or `budget` of its points drawn without repetition where it is larger."""
    size = prod(len(values) for values in space.values())
    grid = [dict(zip(space, point, strict=True)) for point in product(*space.values())]
    if size <= budget:
        return grid
    return [grid[i] for i in sorted(draws.permutation((draws.FIXED,), f"tune/{sorted(space)}", size)[0][:budget])]


def drawn(space: Space, number: int) -> dict[str, str]:
    """Return the point of a number: each key's value drawn for itself, the same in every search."""
    found = {}
    for key, values in space.items():
        share = float(draws.generator(draws.FIXED, f"tune/{key}/{number}").random())
        found[key] = values.at(share) if isinstance(values, Range) else values[int(share * len(values))]
    return found
