"""Leak-free search for a recipe's values: candidates are judged on held-out parts of the first tasks' training sets, never on
a test set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from time import perf_counter
from typing import Final

import numpy as np
import torch

from nlbench import metrics
from nlbench import seeds as draws
from nlbench.errors import NlbenchError, NotFiniteError
from nlbench.plan import Machine, Plan
from nlbench.protocol import evaluate_stream, evaluated_tasks
from nlbench.runner import build_learner, build_stream, threads
from nlbench.streams.stream import Stream
from nlbench.streams.validation import ValidationStream

SHARE: Final = 0.2
TUNING_SEEDS: Final = (100, 101, 102)
"""Not the seeds that results are reported on."""


@dataclass(frozen=True)
class Trial:
    """One candidate: its values, its mean score over seeds (None if it diverged), and what else it scored."""

    values: dict[str, str]
    score: float | None
    metrics: dict[str, float | None]
    seconds: float


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

    @property
    def rule(self) -> str:
        """The validation rule in words."""
        return f"a fixed {self.share:.0%} of the training sets of tasks 1 to {self.tasks}, learned in order from the rest"


def candidates(space: Mapping[str, Sequence[str]], budget: int) -> list[dict[str, str]]:
    """Return the grid of the space, or `budget` of its points drawn without repetition where it is larger."""
    size = prod(len(values) for values in space.values())
    grid = [dict(zip(space, point, strict=True)) for point in product(*space.values())]
    if size <= budget:
        return grid
    return [grid[i] for i in sorted(draws.permutation((draws.FIXED,), f"tune/{sorted(space)}", size)[0][:budget])]


def tune(
    resolve: Callable[[Mapping[str, str]], Plan],
    space: Mapping[str, Sequence[str]],
    budget: int,
    tasks: int,
    objective: str,
    machine: Machine,
) -> Iterator[Trial]:
    """Yield every trial as it ends. `resolve` gives the plan for override values, with the seeds to tune on.

    Each candidate learns the reduced training sets of the first `tasks` tasks in order and is scored by the mean of
    `objective` over seeds on the parts held out. Raises `NlbenchError` for a space with nothing in it or with a key that is
    neither `learner.<key>` nor `batch`, and for an objective that is no metric.
    """
    if not space or any(not values for values in space.values()):
        raise NlbenchError("the search space is empty.", "Give it as --space learner.rate=0.03,0.1,0.3.")
    fixed = [key for key in space if key != "batch" and not key.startswith("learner.")]
    if fixed:
        raise NlbenchError(
            f"--space {fixed[0]}: a search varies learner.<key> and batch only.",
            "Fix other facts for all candidates with --set.",
        )
    if objective not in metrics.METRICS:
        raise NlbenchError(f"objective must be a metric, got {objective!r}.", "See `nlbench list metrics`.")
    plan = resolve({})
    count = min(tasks, plan.stream.stream.tasks)
    policy = plan.stream.protocol.evaluate
    matrix = np.ma.masked_all((count + 1, count))
    for task in range(count + 1):
        matrix[task, [j - 1 for j in evaluated_tasks(policy, task, count)]] = 0.5
    value = metrics.compute(matrix, conflict=plan.stream.stream.conflicts).get(objective)
    if value is None or value.value is None:
        why = value.reason if value is not None else "it needs other runs"
        raise NlbenchError(
            f"objective {objective} cannot be measured on {count} tasks: {why}.", "Choose another, or more --tasks."
        )
    stream = ValidationStream(build_stream(plan, machine), tasks, SHARE)
    for values in candidates(space, budget):
        yield _trial(resolve(values), values, stream, objective, machine)


@torch.no_grad()
def _trial(plan: Plan, values: dict[str, str], stream: Stream, objective: str, machine: Machine) -> Trial:
    clock = perf_counter()
    shape = (len(plan.seeds), stream.n_tasks + 1, stream.n_tasks)
    accuracy = np.ma.masked_all(shape)
    try:
        with threads(plan, stream, machine):
            learner = build_learner(plan, stream, machine.backend)
            for row in evaluate_stream(learner, stream, batch=plan.batch, presents=plan.learner.presents):
                if row.metric == "accuracy":
                    accuracy[plan.seeds.index(row.seed), row.after_task, row.on_task - 1] = row.value  # type: ignore[operator]
    except NotFiniteError:
        return Trial(values, None, {}, perf_counter() - clock)
    scored = [metrics.compute(matrix, conflict=plan.stream.stream.conflicts) for matrix in accuracy]
    means = {
        name: _mean([each[name].value for each in scored])
        for name in ("average_accuracy", "forgetting", "forgetting_first", "learning_accuracy", objective)
    }
    return Trial(values, means[objective], means, perf_counter() - clock)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def finish(
    plan: Plan, space: Mapping[str, Sequence[str]], budget: int, tasks: int, objective: str, trials: Sequence[Trial]
) -> Search:
    """Return the search with its trials in order of score, diverged ones last."""
    sign = 1 if metrics.METRICS[objective].better == "higher" else -1
    order = sorted(trials, key=lambda trial: (trial.score is None, -sign * (trial.score or 0.0)))
    spaces = {key: list(values) for key, values in space.items()}
    tasks = min(tasks, plan.stream.stream.tasks)
    return Search(plan.model, plan.stream_name, spaces, budget, tasks, SHARE, plan.seeds, objective, tuple(order))
