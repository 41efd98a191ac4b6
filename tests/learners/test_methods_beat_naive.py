"""Where a method's paper says that it beats plain fine-tuning, it does: ten seeds, paired, on one named stream."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from small_streams import rows_of, values

from nlbench.comparison.statistics import sign_flip_test
from nlbench.plan import Machine, resolve
from nlbench.runner import prepare

SEEDS = tuple(range(10))
COMMON = {"protocol.boundaries": "true", "protocol.evaluate": "final", "protocol.evaluate_every": "100000"}
TOLD = {"learner.optimizer.rate": "0.3", "protocol.passes": "10"}
"""Enough to forget by: in one pass a head a task loses little on digits."""


@cache
def accuracy(model: str, stream: str, overrides: tuple[tuple[str, str], ...]) -> NDArray[np.float64]:
    """Return the average accuracy of each seed."""
    plan = resolve(model, stream, seeds=SEEDS, overrides={**COMMON, **dict(overrides)})
    running, learner = prepare(plan, Machine(device="cpu"))
    rows = rows_of(learner, running, batch=plan.batch)
    last = [values(rows, "accuracy", seed) for seed in SEEDS]
    return np.array([np.mean([found[running.n_tasks, task] for task in range(1, running.n_tasks + 1)]) for found in last])


BY_TASK = {"stream.scenario": "task-il"}

CASES = [
    *((model, "mlp", "permuted-digits", {}, {"learner.rate": "0.1"}) for model in ("ewc", "ewc-online", "si", "mas", "rwalk")),
    ("lwf", "multi-head", "split-digits-task-il", {"learner.head": "task"}, {}),
    *((model, "mlp", "permuted-digits", BY_TASK, {**BY_TASK, "learner.rate": "0.3"}) for model in ("trgp", "cuber")),
    ("dgr", "mlp", "split-digits", {"protocol.passes": "5"}, {"protocol.passes": "5"}),
    ("hat", "multi-head", "split-digits-task-il", TOLD, TOLD),
    ("packnet", "multi-head", "split-digits-task-il", {**TOLD, "learner.prune_after": "120"}, TOLD),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "naive", "stream", "own", "plain"), CASES, ids=[case[0] for case in CASES])
def test_it_beats_plain_fine_tuning_of_the_same_network_and_rate(
    model: str, naive: str, stream: str, own: dict[str, str], plain: dict[str, str]
) -> None:
    gain = accuracy(model, stream, tuple(own.items())) - accuracy(naive, stream, tuple(plain.items()))
    assert sign_flip_test(gain, "greater") < 0.01, f"gains {gain.round(4)}"
