"""Where a run stands between two of its steps, beside what the learner holds."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from nlbench.protocol.schedule import Position, Schedule


class Progress(NamedTuple):
    """What the loop holds of a task that is not over.

    seconds  of training since the last boundary
    mixes    whether blocks of test samples are of all tasks, as the last boundary found
    held     by name: right (S,) samples that were right before they were learned; losses (K, S) and foreseen (K, S) of the K
             batches observed so far, foreseen being what ailed their logits; what was not counted is left out
    """

    position: Position
    seconds: float
    mixes: bool
    held: dict[str, Tensor]

    def fits(self, schedule: Schedule, n_seeds: int) -> bool:
        """Return whether a run on a schedule, with so many seeds, can have stood here."""
        shapes = {name: value.shape for name, value in self.held.items()}
        right = shapes.pop("right", None) in ((n_seeds,), (0,))
        return right and all(shape[1:] == (n_seeds,) for shape in shapes.values()) and schedule.holds(self.position)
