"""Step-aligned clocks: a level of period C updates exactly at steps C, 2C, 3C, …; steps count from 1, so nothing happens at 0."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from nlbench.errors import NlbenchError


def due(step: int, period: int) -> bool:
    """Whether a level of this period updates at this step."""
    return step >= 1 and step % period == 0


def renews(step: int, period: int) -> bool:
    """Whether what is renewed every `period` steps, and before that at steps 1, 2, 4, …, is renewed at this one."""
    return due(step, period) or (step < period and step.bit_count() == 1)


def until_renewal(step: int, period: int) -> int:
    """How many steps after this one the next that `renews` is."""
    return min(period - step % period, (1 << step.bit_length()) - step if step < period else period)


def expected_updates(steps: int, period: int) -> int:
    """How often a level of this period has updated after `steps` steps: ⌊steps / period⌋."""
    return steps // period


def check_periods(periods: Sequence[int], *, divisible: bool = False) -> tuple[int, ...]:
    """The periods as a tuple, if each is a whole number of steps ≥ 1 and no two are equal.

    With `divisible`, each must also divide every longer one: a level can restart at its parent's boundary only at its own.
    """
    if not periods or any(period < 1 or period % 1 for period in periods) or len(set(periods)) != len(periods):
        raise NlbenchError(
            f"periods: must be distinct whole numbers ≥ 1, got {tuple(periods)}.",
            "Give each level its own period, e.g. (1, 4, 16).",
        )
    ordered = sorted(periods)
    if divisible and any(slow % fast for fast, slow in pairwise(ordered)):
        raise NlbenchError(
            f"periods: in a nested memory each must divide the next longer one, got {tuple(periods)}.",
            "Use a chain such as (1, 4, 16), or the sequential variant.",
        )
    return tuple(periods)


def check_all_fire(periods: Sequence[int], steps: int) -> None:
    """Raise if a level of one of these periods would never update in a run of `steps` steps."""
    silent = [period for period in periods if expected_updates(steps, period) == 0]
    if silent:
        raise NlbenchError(
            f"periods: {silent} never fire in {steps} steps, so these levels would never learn.",
            f"Use periods of at most {steps} steps, smaller batches or more passes.",
        )
