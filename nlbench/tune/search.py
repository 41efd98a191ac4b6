"""What a search found: every trial, how sure the best of them is, and whether it lies at an edge of what was searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from nlbench import metrics
from nlbench.comparison.statistics import Interval, mean_interval
from nlbench.plan import Plan
from nlbench.specs import toml_value
from nlbench.tune.space import Range, Space, parsed

EDGE: Final = 0.05
"""Share of a range, in its logarithm where it is searched so, that counts as its edge."""


@dataclass(frozen=True)
class Trial:
    """One candidate: its values, its mean score over seeds (None if it diverged), what else it scored, and its score by seed."""

    values: dict[str, str]
    score: float | None
    metrics: dict[str, float | None]
    seconds: float
    scores: tuple[float, ...] = ()


@dataclass(frozen=True)
class Search:
    """A finished search: what was searched, by which rule, and every trial, best first."""

    model: str
    stream: str
    space: dict[str, list[str]]
    budget: int
    tasks: int
    share: float
    seeds: tuple[int, ...]
    objective: str
    trials: tuple[Trial, ...]
    sampler: str = "grid"

    @property
    def rule(self) -> str:
        """The validation rule in words."""
        return f"a fixed {self.share:.0%} of the training sets of tasks 1 to {self.tasks}, learned in order from the rest"

    @property
    def interval(self) -> Interval | None:
        """The mean of the best trial with its 95 % Student-t interval over seeds; None where it diverged. It is the best of
        several, so that its mean is too good rather than too bad.
        """
        scores = self.trials[0].scores if self.trials else ()
        return mean_interval(np.array(scores), within=metrics.METRICS[self.objective].range) if scores else None

    @property
    def tied(self) -> tuple[Trial, ...]:
        """The other trials whose paired difference from the best has 0 in its 95 % interval over seeds: chance may have ranked
        them.
        """
        several = [trial for trial in self.trials if len(trial.scores) > 1]
        differences = ((one, mean_interval(np.array(several[0].scores) - np.array(one.scores))) for one in several[1:])
        return tuple(one for one, found in differences if found.low <= 0 <= found.high)

    @property
    def edges(self) -> tuple[str, ...]:
        """The keys of which the best value is the least or the largest of several that were searched; a least of 0 is none."""
        if not self.trials or self.trials[0].score is None:
            return ()
        best = self.trials[0].values
        return tuple(key for key, texts in self.space.items() if key in best and _at_edge(best[key], texts))


def _at_edge(text: str, texts: Sequence[str]) -> bool:
    value = toml_value(text)
    if len(texts) == 1 and isinstance(found := parsed(texts[0]), Range):
        low, high, at = np.log([found.low, found.high, value]) if found.log else (found.low, found.high, value)
        return bool(min(at - low, high - at) <= EDGE * (high - low))
    numbers = [toml_value(one) for one in texts]
    if len(set(numbers if all(map(_is_number, numbers)) else ())) < 2:
        return False
    return value == max(numbers) or (value == min(numbers) and value != 0)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def finish(
    plan: Plan,
    space: Space,
    budget: int,
    tasks: int,
    objective: str,
    trials: Sequence[Trial],
    *,
    sampler: str = "grid",
    share: float = 0.2,
) -> Search:
    """Return the search with its trials in order of score, diverged ones last."""
    sign = 1 if metrics.METRICS[objective].better == "higher" else -1
    order = sorted(trials, key=lambda trial: (trial.score is None, -sign * (trial.score or 0.0)))
    spaces = {key: [str(values)] if isinstance(values, Range) else list(values) for key, values in space.items()}
    tasks = min(tasks, plan.stream.stream.tasks)
    return Search(plan.model, plan.stream_name, spaces, budget, tasks, share, plan.seeds, objective, tuple(order), sampler)
