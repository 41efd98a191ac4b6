"""Where a run stands while it goes on, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final, NamedTuple

from nlbench.protocol import Meeting, Position

EVERY: Final = 0.2
"""Seconds between two moments, at least: to read a loss waits for the device."""


class Moment(NamedTuple):
    """A run at one moment.

    task, tasks    the task that is learned, and how many there are
    samples, total  that each seed has learned, each pass counted, and will have learned in the end
    loss           the mean over seeds of the last batch; None before the first
    rate           samples a second and seed, evaluation counted, since this process took up the run; None where it only began
    left           seconds to its end at this rate; None where there is none
    """

    task: int
    tasks: int
    samples: int
    total: int
    loss: float | None
    rate: float | None
    left: float | None


class Pace:
    """Gives moments of a meeting to a listener, now and then and at the end of each task."""

    def __init__(self, meeting: Meeting, listen: Callable[[Moment], None]) -> None:
        self._meeting = meeting
        self._listen = listen
        self._began = self._told = monotonic()
        self._from = self._samples()

    def step(self) -> None:
        """Called after each step of the meeting."""
        now, position = monotonic(), self._meeting.position
        if now - self._told < EVERY and position != Position(position.task):
            return
        self._told = now
        schedule, samples = self._meeting.schedule, self._samples()
        total, done = schedule.seen_before(schedule.n_tasks + 1), samples - self._from
        rate = done / (now - self._began) if done else None
        left = (total - samples) / rate if rate else None
        task = min(max(position.task, 1), schedule.n_tasks)
        self._listen(Moment(task, schedule.n_tasks, samples, total, self._meeting.finite.last(), rate, left))

    def _samples(self) -> int:
        """Return how many samples each seed has learned so far."""
        schedule, (task, passes, batches) = self._meeting.schedule, self._meeting.position
        if not 1 <= task <= schedule.n_tasks:
            return schedule.seen_before(task) if task else 0
        size = schedule.sizes[task - 1]
        return schedule.seen_before(task) + passes * size + min(batches * schedule.batch, size)
