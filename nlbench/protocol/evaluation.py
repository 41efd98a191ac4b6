"""What a learner predicts, how much of it is right, and the rules that a prediction keeps.

Shapes: S seeds, N samples of a block, C logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from math import isfinite
from typing import Final, NamedTuple

import torch
from torch import Tensor

from nlbench.batch import Batch, Learner
from nlbench.errors import NlbenchError, NotFiniteError
from nlbench.protocol.details import Details
from nlbench.protocol.measured import BLOCK, Part, Whole
from nlbench.protocol.mixing import Probe, mixed
from nlbench.protocol.order import PixelOrder
from nlbench.protocol.schedule import probed
from nlbench.state import digested, first_difference
from nlbench.streams.stream import Stream

COPIED: Final = 2**26
"""Bytes of which a copy is kept while a learner predicts, at most."""


class Count(NamedTuple):
    """Of n test samples of a task, how many each seed has right: (S,) int64, left on the device."""

    task: int
    right: Tensor
    n: int


class Evaluation:
    """One learner measured on one stream's test sets. It is given inputs and, in task-il, the task's number, never labels.

    A block of test samples is of one task. Where the task is not told, that would tell it to a learner whose rows depend on their
    block: wherever one is measured, some rows are tried among other tasks'; if they differ, it is measured in blocks of all
    tasks, there and within tasks until the next boundary. One from outside the package is before the first task too.
    """

    def __init__(self, learner: Learner, stream: Stream, order: PixelOrder, finite: Finiteness) -> None:
        self._learner = learner
        self._stream = stream
        self._order = order
        self._finite = finite
        self._told = stream.scenario == "task-il"
        self.mixes = False  # whether blocks do, since the last boundary
        self.answered = 0  # test samples predicted so far
        self._whole, self._part = Whole(stream, order), Part(stream, order)
        self.details = Details(stream)

    def whole(self, tasks: Sequence[int], tasks_seen: int) -> list[Count]:
        """Return the counts on whole test sets after `tasks_seen` tasks."""
        first = self._learner.outside and not self._told and tasks_seen == 0
        self.mixes = first
        counts = self._measured(tasks, tasks_seen, self._whole, self.details)
        self.mixes = self.mixes and not first
        return counts

    def within(self, tasks: Sequence[int], tasks_seen: int) -> list[Count]:
        """Return the counts on each task's fixed subsample; the task being learned is among the `tasks_seen`."""
        if not tasks:
            return []
        return self._measured(tasks, tasks_seen, self._part, None)

    def foreseen(self, batch: Batch) -> Tensor:
        """Return (S,) counts: samples of a training batch that are right before it is learned."""
        self._order.show(self._finite.task)
        logits = self._predicted(batch.inputs, batch.task)
        self._finite.foreseen(logits, batch.classes)
        return _right(logits, batch.labels, batch.classes)

    def _measured(self, tasks: Sequence[int], tasks_seen: int, sets: Whole, details: Details | None) -> list[Count]:
        """Return the counts of tasks that are measured at one point, of these `sets`; in mixed blocks where the learner's rows
        depend on their block. It may change nothing meanwhile, of which within tasks only one from outside the package is
        suspected.
        """
        watched = sets is self._whole or self._learner.outside
        if watched:
            self._order.show(0)
        with unchanged(self._learner) if watched else nullcontext(lambda: None) as check:
            if not self.mixes:
                sizes = {} if self._told else {task: sets.size(task) for task in tasks}
                probe = Probe(sizes, probed(list(sizes.values()), sets.share)[0])
                found = self._counts(tasks, tasks_seen, sets, probe, details)
                if watched or sizes:
                    self._order.show(0)
                check()  # nothing is kept of what it is now asked again
                competing = self._stream.competing(tasks_seen, 1)
                others = self._beside(tasks, tasks_seen) if len(sizes) == 1 else []
                self.mixes = not probe.independent(lambda inputs: self._answers(inputs, None, competing), others, sets.shown)
            if self.mixes:
                found = self._mixed_counts(tasks, tasks_seen, sets, details)
                self._order.show(0)
        return found

    def _counts(self, tasks: Sequence[int], tasks_seen: int, sets: Whole, probe: Probe, details: Details | None) -> list[Count]:
        """Return the counts of tasks that are measured at one point, from blocks of one task each."""
        found = []
        if details is not None:
            details.begin()
        for task in tasks:
            classes = self._stream.competing(tasks_seen, task)
            self._order.show(task)
            right, n = self._none(), 0
            for inputs, labels in sets.fed(task):
                logits = self._answers(inputs, task, classes)
                if drawn := probe.drawn(task, n, labels.shape[1]):
                    probe.keep(self._order.shown(inputs[:, drawn], task), logits[:, drawn])
                right += _right(logits, labels, classes)
                if details is not None:
                    details.take(task, logits, labels, classes)
                n += labels.shape[1]
            found.append(Count(task, right, n))
        return found

    def _beside(self, tasks: Sequence[int], tasks_seen: int) -> list[int]:
        """Return the other tasks that those measured are put among: all that were seen, or a second one where there is none."""
        others = set(range(1, tasks_seen + 1)) - set(tasks)
        if len(tasks) == 1 and not others:
            others = {1, min(2, self._stream.n_tasks)} - set(tasks)
        return sorted(others) if tasks else []

    def _mixed_counts(self, tasks: Sequence[int], tasks_seen: int, sets: Whole, details: Details | None) -> list[Count]:
        """Return the counts of tasks whose samples stand in blocks among each other and those `beside` them: rows of this learner
        depend on their block.
        """
        samples = {task: sets.shown(task) for task in sorted({*tasks, *self._beside(tasks, tasks_seen)})}
        right = {task: self._none() for task in samples}
        classes = self._stream.competing(tasks_seen, 1)  # the same for all, where no task is told
        self._order.show(0)
        if details is not None:
            details.begin()
        for inputs, parts in mixed(samples, BLOCK):
            logits = self._answers(inputs, None, classes)
            for task, labels, places in parts:
                right[task] += _right(logits[:, places], labels, classes)
                if details is not None and task in tasks:
                    details.take(task, logits[:, places], labels, classes)
        return [Count(task, right[task], len(samples[task])) for task in tasks]

    def _answers(self, inputs: Tensor, task: int | None, classes: Tensor) -> Tensor:
        logits = self._predicted(inputs, task if self._told else None)
        self.answered += inputs.shape[1]
        self._finite.check(logits, classes)
        return logits

    def _none(self) -> Tensor:
        return torch.zeros(len(self._stream.seeds), dtype=torch.int64, device=self._stream.device)

    def _predicted(self, inputs: Tensor, told: int | None) -> Tensor:
        """Return the learner's logits (S, N, C); refuse others, which would be broadcast, and images written to."""
        if self._learner.outside:
            inputs = inputs.clone()  # what is written past torch's count reaches no other block
        version = inputs._version
        logits = self._learner.predict(inputs, told)
        wanted = (len(self._stream.seeds), inputs.shape[1], self._stream.n_classes)
        if logits.shape != wanted:
            raise _broken(self._learner, f"must return logits (S, N, C) = {wanted}, got {tuple(logits.shape)}")
        if inputs._version != version:
            raise _broken(self._learner, "must not write to its inputs")
        return logits


_LOWER: Final = "Lower the learner's rate, or scale its inputs."
_FAULTS: Final = {
    1: ("a logit is not finite", f"{_LOWER} Only -inf may stand, for a class that is masked."),
    2: ("all logits that compete are -inf", "Let one class that competes stand."),
}
"""What a logit can break, and the way out."""


class Finiteness:
    """Whether the losses and logits of one task are finite; a logit may be -inf beside a competing one that is not: its class is
    masked. They stay on the device, unread, until something else is read too; the first that is not is reported with its seed,
    task and step.
    """

    def __init__(self, seeds: tuple[int, ...]) -> None:
        self._seeds = seeds
        self.begin(0)

    def begin(self, task: int) -> None:
        """Forget the task before; 0 is before the first."""
        self.task = task
        self._losses: list[Tensor] = []
        self._foreseen: list[Tensor] = []

    def held(self) -> dict[str, Tensor]:
        """Return what was taken of the task: losses (K, S), foreseen (K, S), what ails their logits; what was not is left out."""
        held = {"losses": self._losses, "foreseen": self._foreseen}
        return {name: torch.cat([torch.atleast_2d(part) for part in parts]) for name, parts in held.items() if parts}

    def put_back(self, task: int, held: Mapping[str, Tensor]) -> None:
        """Go on within a task from what `held` returned."""
        self.begin(task)
        self._losses += [held["losses"]] if "losses" in held else []
        self._foreseen += [held["foreseen"]] if "foreseen" in held else []

    def observed(self, losses: Tensor) -> None:
        """Take the losses of the next batch, (S,), or of the next ones, (K, S)."""
        self._losses.append(losses)

    def foreseen(self, logits: Tensor, classes: Tensor) -> None:
        """Take the logits (S, N, C) of a batch that is not learned yet, of which `classes` (C,) compete."""
        self._foreseen.append(_faults(logits, classes))

    def last(self) -> float | None:
        """Return the mean over seeds of the last batch's loss; None before the task's first. Waits for the device."""
        return float(self._losses[-1].reshape(-1, len(self._seeds))[-1].mean()) if self._losses else None

    def check(self, logits: Tensor, classes: Tensor) -> None:
        """Raise `NotFiniteError` where logits (S, N, C) are not finite, for the task's first loss that is not if there is one;
        `classes` (C,) compete.
        """
        if isfinite(logits.sum()):  # what is not finite has no finite sum
            return
        faults = _faults(logits, classes)
        if faults.any():
            self._check_losses()
            observed = sum(len(losses) if losses.ndim == 2 else 1 for losses in self._losses)
            raise self._error([(observed, index, *_FAULTS[int(faults[index])]) for (index,) in faults.nonzero().tolist()])

    def end(self) -> None:
        """Raise `NotFiniteError` for the first loss of the task that is not finite, and then for the first foreseen logit."""
        self._check_losses()
        if self._foreseen:
            faults = self.held()["foreseen"]
            if faults.any():
                raise self._error([(step, index, *_FAULTS[int(faults[step, index])]) for step, index in _first(faults != 0)])

    def _check_losses(self) -> None:
        if not self._losses:
            return
        losses = self.held()["losses"]
        bad = ~torch.isfinite(losses)
        if bad.any():
            found = [(step + 1, index, f"the loss is {losses[step, index].item()}", _LOWER) for step, index in _first(bad)]
            raise self._error(found)

    def _error(self, found: Sequence[tuple[int, int, str, str]]) -> NotFiniteError:
        """Return the error for seeds that diverged, the first of them first: (step, index, what was seen, the way out)."""
        told = {
            self._seeds[index]: f"{f'task {self.task}, step {step}' if self.task else 'before the first task'}: {what}"
            for step, index, what, _ in found
        }
        seed, first = next(iter(told.items()))
        return NotFiniteError(f"seed {seed}, {first}.", f"No record was written. {found[0][3]}", told)


@contextmanager
def unchanged(learner: Learner) -> Iterator[Callable[[], None]]:
    """Raise `NlbenchError`, naming what differs, if what is watched of the learner is not the same afterwards, bit for bit; what
    is given does so at once. Copies are kept of what is small, and on a GPU, where they stay; of what is large digests, which
    take three times as long and no room.
    """
    held = learner.everything()
    apart = any(value.is_cuda for value in held.values()) or sum(value.nbytes for value in held.values()) <= COPIED
    look = learner.everything if apart else lambda: digested(learner.everything())
    before = copied(held if apart else digested(held))

    def check() -> None:
        changed = first_difference(before, look())
        if changed is not None:
            raise _broken(learner, f"must change nothing, but changed {changed}")

    yield check
    check()


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state that later steps do not write to."""
    return {name: value.clone() for name, value in state.items()}


def _faults(logits: Tensor, classes: Tensor) -> Tensor:
    """Return (S,) uint8: 0, or which of `_FAULTS` a seed's logits have."""
    none = ~(logits.masked_fill(~classes, -torch.inf).amax(-1) > -torch.inf)
    wrong = ~(logits.amax(-1) < torch.inf)  # of NaN too
    return torch.where(wrong.any(1), 1, torch.where(none.any(1), 2, 0)).to(torch.uint8)


def _first(bad: Tensor) -> list[tuple[int, int]]:
    """Return (step, index) of the first step at which each seed is bad, of (K, S); the earliest first."""
    return sorted((int(bad[:, index].int().argmax()), index) for (index,) in bad.any(0).nonzero().tolist())


def _right(logits: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return (S,) counts: samples whose label has the highest competing logit."""
    return (logits.masked_fill(~classes, -torch.inf).argmax(-1) == labels).sum(-1)


def _broken(learner: Learner, rule: str) -> NlbenchError:
    return NlbenchError(f"{type(learner).__name__}.predict {rule}.", "No record was written. Mend the learner.")
