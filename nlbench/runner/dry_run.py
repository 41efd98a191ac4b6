"""What a run would cost: its own feed and its own evaluation, timed for a moment, times what its schedule says is to be done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from time import perf_counter
from typing import Final

import torch

from nlbench.batch import Batch, Batches
from nlbench.plan import Machine, Plan
from nlbench.protocol import Count, Meeting, Position, Schedule, Stretch
from nlbench.runner.preparing import prepare, threads

WARM_UP: Final = 13
"""Batches that compile and load what the rest uses: not timed."""

TIMED: Final = 256
"""Batches timed, at most."""

SECONDS: Final = 1.0
"""After which no more is timed, once something was."""


@dataclass(frozen=True)
class Estimate:
    """What a run would cost, measured on copies of its first batches."""

    steps: int
    updates: dict[int, int]
    bytes_per_seed: dict[str, int]
    seconds: float


@torch.no_grad()
def estimate(plan: Plan, machine: Machine) -> Estimate:
    """Return steps, updates of each level up to the last row, bytes and a time estimate from a few timed batches; nothing is
    recorded.
    """
    stream, learner = prepare(plan, machine)
    schedule = Schedule.of(stream, plan.batch, plan.learner.presents)
    meeting = Meeting(learner, stream, schedule)
    sizes = [len(stream.test(task)) for task in range(1, schedule.n_tasks + 1)]
    predicted = schedule.predicted(sizes, told=stream.scenario == "task-il", outside=learner.outside)
    with threads(plan, stream, machine):
        seconds = schedule.steps * _per_batch(meeting) + predicted.whole * _per_sample(meeting, meeting.evaluation.whole)
        if predicted.within:
            seconds += predicted.within * _per_sample(meeting, meeting.evaluation.within)
    last = schedule.steps_to_last_row
    periods = sorted(int(name.split(".")[1]) for name in learner.diagnostics() if name.endswith(".updates"))
    return Estimate(
        steps=schedule.steps,
        updates={period: last // period for period in periods},
        bytes_per_seed=learner.memory_bytes(),
        seconds=seconds,
    )


def _per_batch(meeting: Meeting) -> float:
    """Return the seconds a training batch takes, its way to the learner included."""
    observed = warm = 0
    seconds, clock = 0.0, _now(meeting)
    for stretch, shown in _fed(meeting):
        meeting.learn(shown)
        observed += -(-(stretch.last - stretch.first) // meeting.schedule.batch)
        if not warm and observed >= WARM_UP:
            seconds = (_now(meeting) - clock) / observed
            warm, clock = observed, _now(meeting)
        elif warm and (observed - warm >= TIMED or perf_counter() - clock > SECONDS):
            break
    return (_now(meeting) - clock) / (observed - warm) if observed > warm else seconds


def _fed(meeting: Meeting) -> Iterator[tuple[Stretch, Batch | Batches]]:
    """The run's batches from the start, nothing measured between them."""
    for task in range(1, meeting.schedule.n_tasks + 1):
        meeting.begin(task)
        yield from chain.from_iterable(meeting.feed.passes(Position(task)))


def _per_sample(meeting: Meeting, measured: Callable[[Sequence[int], int], list[Count]]) -> float:
    """Return the seconds a test sample takes. That of the last task: the pixel order of the first has been turned to."""
    seconds, n, last = 0.0, 1, meeting.schedule.n_tasks
    for _ in range(2):  # the first loads
        meeting.order.show(0)
        clock, before = _now(meeting), meeting.evaluation.answered
        measured([last], last)
        seconds, n = _now(meeting) - clock, meeting.evaluation.answered - before
        if seconds > SECONDS:
            break
    return seconds / n


def _now(meeting: Meeting) -> float:
    """Return the time when the device is done."""
    if meeting.stream.device.type == "cuda":
        torch.cuda.synchronize(meeting.stream.device)
    return perf_counter()
