"""Whether a record shows that anything was learned: its learning accuracy beside that of constant answers."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from nlbench.comparison import statistics
from nlbench.records import Record

Learned = Literal["above-chance", "not-above-chance", "at-chance"]
WORDS: Final[dict[Learned | None, str]] = {"at-chance": "at chance", "not-above-chance": "not shown above chance"}
"""What is said of a learner for which forgetting means nothing, or may mean nothing."""


def learned(record: Record) -> Learned | None:
    """Return what the 95 % interval of learning accuracy minus its chance, over seeds, says.

    `above-chance`: it lies above 0. `at-chance`: it does not reach above 0, so that nothing learned is shown. `not-above-chance`:
    neither. One seed has no interval: it is `not-above-chance` if its value is not above, else null, as is what was not measured.
    """
    accuracy, chance = record.metric("learning_accuracy"), record.chance_of("learning_accuracy")
    above = [a - c for seed, a in accuracy.items() if a is not None and (c := chance[seed]) is not None]
    if len(above) < len(record.seeds):
        return None
    if len(above) == 1:
        return None if above[0] > 0 else "not-above-chance"
    interval = statistics.mean_interval(np.array(above))
    if interval.low > 0:
        return "above-chance"
    return "at-chance" if interval.high <= statistics.ROUNDING else "not-above-chance"


def mean_chance(record: Record, metric: str) -> float | None:
    """Return what constant answers reach of a metric, the mean over seeds; null where the record does not say it for each."""
    values = list(record.chance_of(metric).values())
    return None if None in values else float(np.mean([value for value in values if value is not None]))
