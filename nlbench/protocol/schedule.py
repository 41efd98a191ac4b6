"""When a run does what: which batches of which task and pass in what order, and what is measured after which of them.

Everything here follows from sizes and the stream's protocol alone: no sample is read and no learner asked. A run, its dry run,
the tuner and the benchmarks take their batches and counts from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from nlbench.protocol.policy import evaluated_tasks

if TYPE_CHECKING:
    from nlbench.streams.stream import Stream

LEARNING_CURVE_BATCHES: Final = 10
"""Batches of a task after each of which the task itself is measured, where a stream is measured within tasks."""

AT_ONCE: Final = 64
"""Batches observed in one call, at most: an interruption waits for it."""

WITHIN_SAMPLES: Final = 500
"""Test samples of a task that are predicted within tasks, at most."""

WITHIN_SHARE: Final = 10
"""Within tasks the samples predicted once more are one in so many: `mixing`."""

PROBED: Final = 128
"""Of what is measured at one point, so many test samples, at most, are predicted once more among other tasks': `mixing`."""

FILLERS: Final = 2
"""Samples of another task beside each of these, where only one task is measured."""


class Position(NamedTuple):
    """A place in a run: `passes` whole passes of task `task` and `batches` batches of the next one have been observed.

    Plain numbers, so that they can be written down. A pass that is over counts as a pass, never as its batches; a task whose
    passes are all over stands at (task, passes, 0) until what its boundary asks for is done. Task 0 is before row 0, task T + 1
    the end.
    """

    task: int
    passes: int = 0
    batches: int = 0


START: Final = Position(0)
"""Nothing is done yet: row 0 is still to be measured."""


class Stretch(NamedTuple):
    """Batches of one pass that are observed one after another, with nothing measured between them.

    first, last  they show samples first … last - 1 of the pass
    seen         samples of the task observed after it, all its passes together
    due          the tasks to measure then, within the task; often none
    then         where the run stands then
    """

    first: int
    last: int
    seen: int
    due: range
    then: Position


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happens when in one run.

    sizes     samples that are presented in tasks 1…T, in each pass: of a cumulative run those of all tasks so far
    evaluate  the evaluation policy at task boundaries
    every     samples between measurements within a task; None: there are none
    anew      whether a cumulative run starts from the first state before every row
    """

    sizes: tuple[int, ...]
    batch: int
    passes: int
    evaluate: str
    every: int | None
    prequential: bool
    cumulative: bool
    anew: bool

    @classmethod
    def of(cls, stream: Stream, batch: int, presents: str) -> Schedule:
        """Return the schedule of a stream, presented one task after another or, cumulatively, all tasks so far together:
        `presents = "cumulative"` from the first state each time, `"accumulated"` from where it stands. A cumulative run is
        measured at boundaries only.
        """
        protocol, cumulative = stream.spec.protocol, presents != "sequential"
        sizes = [stream.train_size(task) for task in range(1, stream.n_tasks + 1)]
        return cls(
            sizes=tuple(accumulate(sizes) if cumulative else sizes),
            batch=batch,
            passes=protocol.passes,
            evaluate=protocol.evaluate,
            every=None if cumulative else protocol.evaluate_every,
            prequential=protocol.prequential and not cumulative,
            cumulative=cumulative,
            anew=presents == "cumulative",
        )

    @property
    def n_tasks(self) -> int:
        """T."""
        return len(self.sizes)

    @property
    def steps(self) -> int:
        """Batches of the whole run."""
        return sum(self._steps_of(task) for task in range(1, self.n_tasks + 1) if self.learns(task))

    @property
    def steps_to_last_row(self) -> int:
        """Batches that a learner has observed when its last row is measured."""
        return self._steps_of(self.n_tasks) if self.anew else self.steps

    def learns(self, task: int) -> bool:
        """Return whether anything is learned for row `task`: where each starts anew, nothing is for one that is not measured."""
        return not self.anew or len(self.evaluated(task)) > 0

    def seen_before(self, task: int) -> int:
        """Return how many samples are observed before a task, T + 1 being the end; each pass counts."""
        return self.passes * sum(size for earlier, size in enumerate(self.sizes[: task - 1], 1) if self.learns(earlier))

    def holds(self, position: Position) -> bool:
        """Return whether a run on this schedule can stand at a position."""
        task, passes, batches = position
        if not 1 <= task <= self.n_tasks:
            return position in (START, Position(self.n_tasks + 1))
        return (0 <= passes < self.passes and 0 <= batches < self._batches_in_pass(task)) or (passes, batches) == (self.passes, 0)

    def stretches(self, start: Position, at_once: int) -> Iterator[Stretch]:
        """Yield what is left of a pass from `start` on, at most `at_once` batches at a time."""
        task, passes, batches = start
        size, in_pass = self.sizes[task - 1], self._batches_in_pass(task)
        before = passes * size
        while batches < in_pass:
            first = batches * self.batch
            count = min(at_once, self._until_due(passes * in_pass + batches, before + first))
            batches = min(batches + count, in_pass)
            last = min(batches * self.batch, size)
            due = self._due(task, passes * in_pass + batches, before + first, before + last)
            then = Position(task, passes, batches) if batches < in_pass else Position(task, passes + 1)
            yield Stretch(first, last, before + last, due, then)

    def evaluated(self, task: int) -> range:
        """Return the tasks whose whole test sets are measured after `task`, 0 being the start."""
        return evaluated_tasks(self.evaluate, task, self.n_tasks)

    def due_at(self, start: Position) -> range:
        """Return the tasks that are measured within a task before it goes on from `start`: where it begins, and nowhere else."""
        return range(1, start.task + 1) if self.every and start == Position(start.task) else range(0)

    def due_after(self, task: int) -> range:
        """Return the tasks that are measured at the boundary after a task as they are within one: at the end of the stream."""
        return range(1, task + 1) if self.every and task == self.n_tasks else range(0)

    def predicted(self, test_sizes: Sequence[int], *, told: bool, outside: bool = False) -> Predicted:
        """Return how many test samples the run predicts, from the sizes of the T test sets; of a learner that is not told the
        task, and whose rows are independent, those that are predicted once more too. One from `outside` the package is measured
        in mixed blocks before the first task.
        """

        def count(measured: Sequence[int], most: int, share: int | None) -> int:
            sizes = [min(most, test_sizes[j - 1]) for j in measured]
            again = sum(probed(sizes, share)) if not told and self.n_tasks > 1 else 0
            return sum(sizes) + again

        tasks = range(1, self.n_tasks + 1)
        largest = max(test_sizes)
        whole = sum(count(self.evaluated(task), largest, None) for task in tasks)
        first = self.evaluated(0)
        whole += sum(test_sizes[j - 1] for j in first) if outside else count(first, largest, None)
        within = 0
        for task in tasks if self.every else ():
            points = [self.due_at(Position(task)), self.due_after(task)]
            for passes in range(self.passes):
                points += [stretch.due for stretch in self.stretches(Position(task, passes), AT_ONCE)]
            within += sum(count(due, WITHIN_SAMPLES, WITHIN_SHARE) for due in points)
        return Predicted(whole, within)

    def _batches_in_pass(self, task: int) -> int:
        return -(-self.sizes[task - 1] // self.batch)

    def _steps_of(self, task: int) -> int:
        return self.passes * self._batches_in_pass(task)

    def _until_due(self, observed: int, seen: int) -> int:
        """Return after how many batches something is measured, or after how many to look again; so many batches and samples of
        the task have been observed.
        """
        if not self.every:
            return AT_ONCE
        if observed < LEARNING_CURVE_BATCHES:
            return 1
        return min(AT_ONCE, -(-(self.every - seen % self.every) // self.batch))

    def _due(self, task: int, observed: int, before: int, seen: int) -> range:
        """Return the tasks to measure when a stretch led from `before` to `seen` samples of the task."""
        if not self.every:
            return range(0)
        if seen // self.every > before // self.every:
            return range(1, task + 1)
        return range(task, task + 1) if observed <= LEARNING_CURVE_BATCHES else range(0)


class Predicted(NamedTuple):
    """Test samples that a run predicts: of whole test sets at boundaries, and within tasks."""

    whole: int
    within: int


def probed(sizes: Sequence[int], share: int | None = None) -> tuple[int, int]:
    """Return how many test samples are predicted once more where tasks of these sizes are measured, and how many of another
    task stand beside them: together one in `share` of those measured, at least one of them; without a share `PROBED`.
    """
    fillers = FILLERS if len(sizes) == 1 else 0
    count = min(PROBED, sum(sizes))
    if share and count:
        count = min(count, max(1, sum(sizes) // (share * (1 + fillers))))
    return count, fillers * count
