"""The one sequential protocol: a learner meets a stream task by task and is measured; everything comes out as plain rows.

R[i, j] is the accuracy on the whole test set of task j after training on tasks 1…i; row 0 is before any training.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from time import perf_counter
from typing import Final

import torch

from nlbench.batch import Batch, Batches, Learner
from nlbench.protocol.evaluation import Count, Evaluation, Finiteness, copied
from nlbench.protocol.feed import Feed
from nlbench.protocol.order import PixelOrder
from nlbench.protocol.progress import Progress
from nlbench.protocol.schedule import START, Position, Schedule
from nlbench.records import Row
from nlbench.records.schema import check_own_name
from nlbench.streams.stream import Stream

BOUNDARY: Final = "seconds.evaluate"
"""The metric of the last row of every task boundary."""


def evaluate_stream(learner: Learner, stream: Stream, *, batch: int, presents: str = "sequential") -> Iterator[Row]:
    """Yield the rows of one run: train on each task in order, evaluate at every boundary and, if the stream asks, within
    tasks.

    With `presents = "cumulative"` the learner is put back to its first state and trained on tasks 1…i before row i, if
    anything is measured there; with `"accumulated"` it goes on with them from where it stands. Raises
    `NotFiniteError` when a loss or a logit is not finite. Evaluation changes nothing in the learner and draws nothing.
    """
    for rows in Meeting(learner, stream, Schedule.of(stream, batch, presents)).steps():
        yield from rows


class Meeting:
    """One learner on one stream: what is done between two boundaries, and at one. The learner is to be as it was built."""

    def __init__(self, learner: Learner, stream: Stream, schedule: Schedule, reserved: Collection[str] = ()) -> None:
        """`reserved` are names that no diagnostic may have: those of metrics, which are computed of the rows later."""
        self.reserved = reserved
        self.learner = learner
        self.stream = stream
        self.schedule = schedule
        tells = learner.outside and not stream.spec.protocol.boundaries  # a learner that moves is told that a task began
        self.order = PixelOrder(learner, stream, mixed=schedule.cumulative or stream.mixes_tasks or tells)
        self.finite = Finiteness(stream.seeds)
        self.feed = Feed(stream, schedule, learner, self.order)
        self.evaluation = Evaluation(learner, stream, self.order, self.finite)
        self.position = START
        self.right = torch.zeros(0)  # (S,) samples of the task predicted right before they were learned
        self.seconds = 0.0  # of training, since the last boundary
        self._initial = copied(learner.state_dict()) if schedule.anew else {}

    def steps(self) -> Iterator[list[Row]]:
        """Yield what each step from here to the end of the run measures, often nothing: one batch, or as many as are observed
        at once; what a boundary asks for. Between two of them all is at rest: `position` says where, and it can be saved.
        """
        if self.position == START:
            yield self._arrive(1, [*self.chance(), *self.boundary(0)])
        for task in range(self.position.task, self.stream.n_tasks + 1):
            ended: list[Row] = []
            if self.schedule.learns(task):
                start = self.position
                if self._initial and start == Position(task):
                    self.learner.load_state_dict(self._initial)
                yield from self.train(start)
                ended += self._end(task)
            yield self._arrive(task + 1, [*ended, *self.boundary(task)])

    def progress(self) -> Progress:
        """Return what the loop itself holds between two steps; the learner is put into its own pixel order."""
        self.order.show(0)
        return Progress(self.position, self.seconds, self.evaluation.mixes, {"right": self.right, **self.finite.held()})

    def resume(self, progress: Progress) -> None:
        """Go on from where a run was saved, with the learner as it was then."""
        self.position, self.seconds, self.evaluation.mixes = progress.position, progress.seconds, progress.mixes
        held = {name: value.to(self.stream.device) for name, value in progress.held.items()}
        self.right = held.pop("right")
        self.finite.put_back(self.position.task, held)

    def chance(self) -> Iterator[Row]:
        """Yield the accuracy of each task's best constant label, and the average accuracy of the whole stream's."""
        for task in range(1, self.stream.n_tasks + 1):
            for seed, value in zip(self.stream.seeds, self.stream.chance(task).tolist(), strict=True):
                yield Row(seed, None, task, None, "chance", value)
        for seed, value in zip(self.stream.seeds, self.stream.chance_of_all().tolist(), strict=True):
            yield Row(seed, None, None, None, "chance", value)

    def train(self, start: Position) -> Iterator[list[Row]]:
        """Show the learner what is left of a task, of a cumulative run all tasks so far; yield what is measured on the way."""
        task = start.task
        before = self.schedule.seen_before(task)
        if start == Position(task):
            self.begin(task)
        rows = list(self._within(task - 1, self.schedule.due_at(start), before))
        for shown in self.feed.passes(start):
            clock = perf_counter()
            for stretch, batch in shown:
                self.learn(batch)
                self.seconds += perf_counter() - clock
                rows += self._within(task - 1, stretch.due, before + stretch.seen)
                self.position = stretch.then
                yield rows
                rows = []
                clock = perf_counter()

    def begin(self, task: int) -> None:
        """Count anew: the next batches are those of `task`."""
        self.finite.begin(task)
        self.right = torch.zeros(len(self.stream.seeds), dtype=torch.int64, device=self.stream.device)

    def learn(self, shown: Batch | Batches) -> None:
        """One step, or as many as are shown at once: predicted first where the stream asks for it, then observed."""
        if self.schedule.prequential:
            assert isinstance(shown, Batch)
            self.right += self.evaluation.foreseen(shown)
        self.finite.observed(self.feed.observe(shown, self.finite.task))

    def _arrive(self, task: int, rows: list[Row]) -> list[Row]:
        """Stand before a task, when all that the boundary asks for is done."""
        self.position = Position(task)
        return rows

    def boundary(self, task: int) -> Iterator[Row]:
        """Yield what belongs to the boundary after `task`: the row of R, bytes, diagnostics, seconds."""
        clock = perf_counter()
        counts = self.evaluation.whole(self.schedule.evaluated(task), tasks_seen=task)
        self.order.show(0)
        rows = list(self._accuracies("accuracy", counts, task, None))
        seconds = perf_counter() - clock
        yield from rows
        yield from self.evaluation.details.rows(task)
        yield from self._within(task, self.schedule.due_after(task), self.schedule.seen_before(task + 1))
        for kind, size in self.learner.memory_bytes().items():
            check_own_name(kind, "memory_bytes:", ())
            for seed in self.stream.seeds:
                yield Row(seed, task, None, None, f"bytes.{kind}", float(size))
        for name, values in self.learner.diagnostics().items():
            check_own_name(name, "diagnostics:", self.reserved)
            for seed, value in zip(self.stream.seeds, values.double().tolist(), strict=True):
                yield Row(seed, task, None, None, name, value)
        self.order.show(0)
        yield Row(None, task, None, None, "seconds.train", self.seconds)
        self.seconds = 0.0
        yield Row(None, task, None, None, BOUNDARY, seconds)

    def _end(self, task: int) -> Iterator[Row]:
        """Let a task end, which is of its training, its work on the device included, and yield what was foreseen of it."""
        clock = perf_counter()
        self.finite.end()  # first: of weights that are not finite a learner's own algebra would complain, in words that say less
        if self.stream.spec.protocol.boundaries:
            self.learner.end_task()
        self.order.show(0)
        if self.stream.device.type == "cuda":
            torch.cuda.synchronize(self.stream.device)
        self.seconds += perf_counter() - clock
        if self.schedule.prequential:
            count = Count(task, self.right, self.schedule.sizes[task - 1] * self.schedule.passes)
            yield from self._accuracies("prequential_accuracy", [count], task, None)

    def _within(self, completed: int, tasks: range, samples_seen: int) -> Iterator[Row]:
        """Yield the accuracy on each task's fixed subsample, at the present position."""
        counts = self.evaluation.within(tasks, min(completed + 1, self.stream.n_tasks))
        yield from self._accuracies("accuracy_within", counts, completed, samples_seen)

    def _accuracies(self, metric: str, counts: Iterable[Count], after_task: int, samples_seen: int | None) -> Iterator[Row]:
        for task, right, n in counts:
            for seed, value in zip(self.stream.seeds, (right.double() / n).tolist(), strict=True):
                yield Row(seed, after_task, task, samples_seen, metric, value, n)
