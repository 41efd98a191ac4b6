"""A run goes on from wherever it stood."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import torch
from quick_cases import quick_if
from small_streams import mlp, problem_of, rows_of, running, small_stream, small_tasks, untimed
from torch import Tensor

from nlbench.errors import NotFiniteError
from nlbench.learners.config import MlpConfig
from nlbench.learners.mlp import Mlp
from nlbench.protocol import Meeting, Schedule
from nlbench.streams.stream import Stream


class Voter(Mlp):
    """Rows of a block depend on each other: blocks of one task would tell it the task."""

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        logits = super().predict(inputs, task)
        return logits + logits.mean(1, keepdim=True)


def voter(stream: Stream) -> Voter:
    return Voter(MlpConfig(kind="mlp", hidden=(16,), momentum=0.9, rate=0.1), problem_of(stream))


WAYS = {
    "one batch after another": {"evaluate_every": 16, "passes": 2},
    "predicted before it is learned": {"prequential": True},
    "boundaries alone": {"passes": 2},
    "the last boundary alone": {"passes": 2, "evaluate": "final"},
}


@pytest.mark.parametrize(
    ("made_for", "way", "presents"),
    [
        quick_if(made_for is voter or presents == "sequential", made_for, way, presents)
        for made_for, way, presents in product(
            (partial(mlp, momentum=0.9), voter), WAYS, ("sequential", "cumulative", "accumulated")
        )
    ],
)
@torch.no_grad()
def test_going_on_from_any_step_gives_the_remaining_rows(made_for: Callable[[Stream], Mlp], way: str, presents: str) -> None:
    """Every step is tried, and going on, as saving, leaves the run that was saved as it would have been."""
    stream = running(small_stream(tasks=small_tasks(n_train=32, n_test=10), **WAYS[way]), [0, 1])
    schedule = Schedule.of(stream, 8, presents)
    meeting = Meeting(made_for(stream), stream, schedule)
    steps, places = [], []
    for rows in meeting.steps():
        steps.append(untimed(rows))
        progress = meeting.progress()
        held = {name: value.clone() for name, value in progress.held.items()}
        places.append((progress._replace(held=held), {name: each.clone() for name, each in meeting.learner.state_dict().items()}))
    assert [row for rows in steps for row in rows] == untimed(rows_of(made_for(stream), stream, presents=presents))
    assert len({progress.position for progress, _ in places}) == len(steps) > 10
    for done, (progress, state) in enumerate(places, 1):
        again = Meeting(made_for(stream), stream, schedule)
        again.learner.load_state_dict(state)
        again.resume(progress)
        assert [untimed(rows) for rows in again.steps()] == steps[done:]


@torch.no_grad()
def test_a_loss_that_was_not_finite_is_told_after_going_on_too() -> None:
    stream = running(small_stream(), [0, 1])
    schedule = Schedule.of(stream, 8, "sequential")
    meeting = Meeting(mlp(stream, rate=1e30), stream, schedule)
    steps = meeting.steps()
    for _ in range(4):
        next(steps)
    again = Meeting(mlp(stream), stream, schedule)
    again.resume(meeting.progress())
    with pytest.raises(NotFiniteError, match=r"seed 0, task 1, step 2: the loss is (nan|inf)"):
        list(again.steps())
