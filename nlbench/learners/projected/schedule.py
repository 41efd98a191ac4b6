"""When things fall due: functions of the step alone, which counts chunks from 1."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

from nlbench.learners.projected.config import ProjectedConfig
from nlbench.nested.clocks import due, renews, until_renewal

AT_ONCE: Final = 8
"""Chunks learned in one call, at most."""


@dataclass(frozen=True)
class Schedule:
    """periods  chunks between two steps of each memory, slow to fast; the read-out's is 1 and comes last
    refresh  chunks between two refreshes of what is protected, and of what is solved for
    share    every how many chunks keys are gathered
    warm_up  chunks after which features may change
    by_readings  whether what is learned depends on what is read by what is solved for
    """

    periods: tuple[int, ...]
    refresh: int
    share: int
    warm_up: int = 0
    by_readings: bool = True

    @classmethod
    def of(cls, config: ProjectedConfig) -> Schedule:
        """Return that of a configuration."""
        warm_up = config.keys.warm_up if config.keys.kind == "random" else 0
        return cls((*(level.period for level in config.levels), 1), config.refresh, config.share, warm_up, config.by_readings)

    @cached_property
    def fast(self) -> int:
        """The first memory that steps after every chunk."""
        return self.periods.index(1)

    def together(self, step: int, most: int) -> int:
        """Return how many of the `most` chunks after `step` to learn in one call: none but the last is followed by a refresh, and
        calls are of few kinds.
        """
        chunks = AT_ONCE if step >= self.warm_up else 1
        while chunks > 1 and (step % chunks or chunks > min(most, until_renewal(step, self.refresh))):
            chunks //= 2
        return chunks

    def parts(self, before: int, chunks: int) -> list[tuple[int, int]]:
        """Return which of the chunks after step `before` are learned in a piece, (first, end): each but the last piece is
        followed by a step of a slow memory.
        """
        ends = [i for i in range(1, chunks) if any(due(before + i, period) for period in self.periods[: self.fast])]
        return list(pairwise([0, *ends, chunks]))

    def kind(self, before: int, chunks: int) -> tuple[bool, ...]:
        """Return all that falls due with the chunks after step `before`: what is alike runs alike."""
        every = (self.share, *self.periods)
        return tuple(due(step, period) for step in range(before + 1, before + chunks + 1) for period in every)

    def steps(self, memory: int, step: int) -> bool:
        """Return whether the period of a memory ends at this step."""
        return due(step, self.periods[memory])

    def gathers(self, step: int) -> bool:
        """Return whether the chunk of this step is gathered."""
        return due(step, self.share)

    def protects(self, step: int) -> bool:
        """Return whether what is protected is brought up to date after this step: at each refresh, and before the first at steps
        1, 2, 4, …, from one of which to the next the grams double.
        """
        return renews(step, self.refresh)

    def solves(self, step: int) -> bool:
        """Return whether what is read by, where that is solved for, is brought up to date after this step: when what is protected
        is, or where nothing is learned by it, at steps 1, 2, 4, … on and on.
        """
        return renews(step, self.refresh if self.by_readings else step + 1)
