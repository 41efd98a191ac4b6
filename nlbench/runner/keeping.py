"""When a run is saved, and that what was saved is what it was."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

import torch

from nlbench.batch import Learner
from nlbench.errors import InterruptedRunError, NlbenchError, RecordError
from nlbench.escaping import LONGEST_NAME, printable
from nlbench.plan import Machine
from nlbench.protocol import START, Meeting, Position
from nlbench.records import Row
from nlbench.runner.checkpoint import Checkpoint, Saved, text
from nlbench.runner.proving import difference, let_go
from nlbench.state import UnlikeError, first_difference, left_out

LONGEST_SHARE: Final = 20
"""Within tasks, saving takes at most one part in so many of the time."""


class Kept:
    """The rows of a run so far, and its checkpoint.

    It is saved at every task boundary but the first and the last, and within tasks every so many seconds, unless the last time is
    hardly past. What the learner
    holds and cannot be saved, and a checkpoint that does not give back what was saved, are told once: the run goes on, and
    `not_kept` says why it has none.
    """

    def __init__(
        self,
        meeting: Meeting,
        checkpoint: Checkpoint,
        machine: Machine,
        built: Callable[[], Learner],
        tell: Callable[[str], None],
    ) -> None:
        self.rows: list[Row] = []
        self.resumes: list[dict[str, Any]] = []
        self.not_kept: str | None = None
        self.threads: int | None = None
        """On how many the run goes on, or began before it was resumed."""
        self._meeting = meeting
        self._checkpoint = checkpoint
        self._every = machine.checkpoint_every
        self._gap = machine.checkpoint_gap
        self._built = built
        self._tell = tell
        self._texts: list[str] = []
        self._fresh: list[Row] = []  # encoded when it is saved: all rows each time would take longer and longer
        self._saved_at = monotonic()
        self._cost = 0.0  # seconds, of the last one
        self._unproven = {"within", "boundary"}
        self._failed = False

    def refrain(self, why: str) -> None:
        """Keep no checkpoint from now on."""
        self.not_kept = printable(why)[:LONGEST_NAME]

    def resume(self) -> list[Row]:
        """Go on from the checkpoint, if there is one, and return the rows that were measured before.

        Raises `RecordError` where it cannot be: it is damaged, or was saved on another kind of device or by another backend.
        """
        meeting, learner = self._meeting, self._meeting.learner
        saved = self._checkpoint.load()
        if saved is not None:
            self._check(saved)
            if saved.state:
                try:
                    learner.load_state_dict(saved.state)
                    different = first_difference(saved.state, learner.state_dict())
                except (UnlikeError, NlbenchError) as error:
                    different = str(error)
                if different:
                    raise self._checkpoint.refused(f"does not fit the learner: {different}")
            meeting.resume(saved.progress)
            self.threads = saved.threads
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self.resumes = [*saved.resumes, {**saved.progress.position._asdict(), "created": now}]
            self.rows, self._texts = list(saved.rows), [text(saved.rows)]
            self._tell(f"going on {place(meeting.position)}")
        if missing := left_out(learner.state_dict()):
            self._give_up(f"the learner holds what cannot be saved: {'; '.join(missing)}")
        return list(self.rows)

    def take(self, rows: Sequence[Row]) -> None:
        """Add what a step measured."""
        self.rows += rows
        self._fresh += rows

    def save_if_due(self) -> None:
        """Save at a boundary, or if the last time is long enough ago."""
        waited = monotonic() - self._saved_at
        due = self._at_boundary() or (self._every and waited >= max(self._every, LONGEST_SHARE * self._cost))
        if due and waited >= self._gap:
            self.save()

    def interrupted(self, number: int) -> InterruptedRunError:
        """Save, and return the error that says where a signal stopped the run."""
        kept = self.save()
        why = self.not_kept or "its checkpoint could not be written"
        hint = "It is kept; the same command resumes it." if kept else f"It starts anew: {why}."
        return InterruptedRunError(f"interrupted {place(self._meeting.position)}.", hint, number)

    def save(self) -> bool:
        """Save where the run stands; return whether it was. What cannot be written is told once, and tried again next time."""
        if self.not_kept is not None:
            return False
        clock, meeting = monotonic(), self._meeting
        progress = meeting.progress()
        learner = meeting.learner
        begins = progress.position == Position(progress.position.task)
        state = {} if meeting.schedule.anew and begins else learner.state_dict()
        if missing := left_out(state):
            self._give_up(f"the learner holds what cannot be saved: {'; '.join(missing)}")
            return False
        self._texts += [text(self._fresh)] if self._fresh else []
        self._fresh.clear()
        ran_on = meeting.stream.device.type, learner.backend, self.threads
        saved = Saved(*ran_on, progress, self.resumes, self.rows, state)
        try:
            self._checkpoint.save(saved, f"[{','.join(self._texts)}]")
        except RecordError as error:
            if not self._failed:
                self._tell(f"{error} The run goes on and tries again.")
            self._failed = True
        else:
            self._failed = False
        self._saved_at = monotonic()
        self._cost = self._saved_at - clock
        if state and not self._failed and progress.position > Position(1):
            self._prove("boundary" if begins else "within")
        return not self._failed and self.not_kept is None

    def _prove(self, kind: str) -> None:
        """Load the first checkpoint of a kind into a fresh learner: when a task has ended there may be more in it than before."""
        if kind not in self._unproven:
            return
        self._unproven.discard(kind)
        try:
            with let_go(), self._checkpoint.opened() as saved:
                assert saved is not None
                different = difference(self._meeting.learner, self._built(), saved.state, self._meeting.stream)
        except (UnlikeError, NlbenchError, OSError) as error:
            self._give_up(f"no learner could be made from its checkpoint: {error}")
        except torch.OutOfMemoryError:
            self._tell("there is no memory for a second learner: that the checkpoint gives back the first is not proven")
        else:
            if different:
                self._give_up(f"a learner made from its checkpoint differs in {different}")

    def _give_up(self, why: str) -> None:
        self.refrain(why)
        self._checkpoint.delete()
        self._tell(f"{self.not_kept}. The run goes on and keeps no checkpoint: if it is interrupted, it starts anew.")

    def _check(self, saved: Saved) -> None:
        """Refuse a state from another place: parts that grew lived there, and other kernels round otherwise. And a place in the
        run where it cannot have been.
        """
        if not saved.progress.fits(self._meeting.schedule, len(self._meeting.stream.seeds)):
            raise self._checkpoint.refused(f"says that it stood where this run does not: {tuple(saved.progress.position)}")
        here = (self._meeting.stream.device.type, self._meeting.learner.backend)
        for what, before, now in zip(("device", "backend"), (saved.device, saved.backend), here, strict=True):
            if before != now:
                raise RecordError(
                    f"{self._checkpoint.path}: the checkpoint was saved by a run with {what} {before}, this one has {now}.",
                    f"Resume it with --{what} {before}, or start anew with --force.",
                )

    def _at_boundary(self) -> bool:
        position = self._meeting.position
        return position == Position(position.task) and 2 <= position.task <= self._meeting.schedule.n_tasks


def place(position: Position) -> str:
    """Return where a run stands, in words."""
    task, passes, batches = position
    if position == START:
        return "before the first task"
    if position == Position(task):
        return f"after task {task - 1}" if task > 1 else "before the first task"
    done = " and ".join(f"{n} {unit}{'es' * (n > 1)}" for n, unit in ((passes, "pass"), (batches, "batch")) if n)
    return f"in task {task} after {done}"
