"""The one sequential protocol: a learner meets a stream task by task and is measured; everything comes out as plain rows.

R[i, j] is the accuracy on the whole test set of task j after training on tasks 1…i; row 0 is before any training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from time import perf_counter
from typing import Final

import torch
from torch import Tensor

from nlbench import seeds as draws
from nlbench.batch import Batch, Batches, Learner, observes_batches
from nlbench.errors import NlbenchError, NotFiniteError
from nlbench.records import Row
from nlbench.streams.stream import Samples, Stream

BOUNDARY: Final = "seconds.evaluate"
"""The metric of the last row of every task boundary: when it has been yielded, the learner may be saved."""

EVALUATION_BATCH: Final = 2000
WITHIN_SAMPLES: Final = 500
LEARNING_CURVE_BATCHES: Final = 10
AT_ONCE: Final = 64
"""Batches observed in one call, at most: an interruption waits for it."""


def training_batches(stream: Stream, batch: int, presents: str) -> int:
    """Return how many batches a learner observes before its last row is evaluated."""
    sizes = [stream.train_size(task) for task in range(1, stream.n_tasks + 1)]
    if presents == "cumulative":
        sizes = [sum(sizes)]
    return stream.spec.protocol.passes * sum(-(-size // batch) for size in sizes)


def evaluated_tasks(policy: str, task: int, n_tasks: int) -> range:
    """Return the tasks that an evaluation policy measures after `task`."""
    if policy == "full" or (policy == "final" and task == n_tasks):
        return range(1, n_tasks + 1)
    if policy == "final":
        return range(0)
    if policy == "seen":
        return range(1, task + 1)
    window = int(policy.removeprefix("window:"))
    return range(1, n_tasks + 1) if task == n_tasks else range(max(1, task - window + 1), task + 1)


def evaluate_stream(
    learner: Learner, stream: Stream, *, batch: int, presents: str = "sequential", completed: int | None = None
) -> Iterator[Row]:
    """Yield the rows of one run: train on each task in order, evaluate at every boundary and, if the stream asks, within
    tasks.

    `completed` tasks are taken as done: the learner must be in the state it had at that boundary, and its rows and those
    before are not yielded again; None starts from the beginning, row 0 included. With `presents = "cumulative"` the learner
    is put back to its first state and trained on tasks 1…i before row i. Raises `NotFiniteError` when a loss or a logit is
    not finite. Evaluation changes nothing in the learner and draws nothing.
    """
    yield from _Presentation(learner, stream, batch, presents).rows(completed)


class _Presentation:
    """One learner on one stream: the position in it, and in whose pixel order the learner's first layer stands."""

    def __init__(self, learner: Learner, stream: Stream, batch: int, presents: str) -> None:
        self.learner = learner
        self.stream = stream
        self.batch = batch
        self.protocol = stream.spec.protocol
        self.cumulative = presents == "cumulative"
        self.reorders = hasattr(learner, "permute_inputs") and stream.pixel_order(1) is not None and not self.cumulative
        self.shown = 0  # the task whose pixel order the learner stands in; 0 = its own
        self.task = 0  # the task being learned, or last learned
        self.every = self.protocol.evaluate_every if not self.cumulative else None
        self.prequential = self.protocol.prequential and not self.cumulative
        self.observes_batches = observes_batches(learner)
        self.losses: list[Tensor] = []  # of that task, left on the device
        self.finite: list[Tensor] = []  # whether the logits of each batch before learning it were, left there too
        self.right = torch.zeros(0)  # samples of that task predicted right before learning them
        self.start = 0  # samples seen before that task
        self.samples_seen = 0
        self.seconds = 0.0
        self.subsamples: dict[int, tuple[Tensor, Tensor]] = {}

    def rows(self, completed: int | None) -> Iterator[Row]:
        initial = _copied(self.learner.state_dict()) if self.cumulative else {}
        if completed is None:
            yield from self._chance()
            yield from self._boundary(0)
        for task in range(1, self.stream.n_tasks + 1):
            if task <= (completed or 0):
                self.samples_seen += self.stream.train_size(task) * self.protocol.passes
                continue
            if self.cumulative:
                self.learner.load_state_dict(initial)
            yield from self._train(task)
            yield from self._boundary(task)

    def _chance(self) -> Iterator[Row]:
        for task in range(1, self.stream.n_tasks + 1):
            for seed, value in zip(self.stream.seeds, self.stream.chance(task).tolist(), strict=True):
                yield Row(seed, None, task, None, "chance", value)

    def _train(self, task: int) -> Iterator[Row]:
        """Present the task's samples (all until it, for the joint bound) and yield what is measured on the way."""
        samples = self.stream.train_until(task) if self.cumulative else self.stream.train(task)
        if not self.cumulative and not self.reorders:
            samples = self.stream.ordered(samples, task)
        self.task, self.losses, self.finite = task, [], []
        self.right = torch.zeros(len(self.stream.seeds), dtype=torch.int64, device=self.stream.device)
        self.start = self.samples_seen
        if self.every:
            yield from self._within(task - 1, range(1, task + 1))
        for number in range(self.protocol.passes):
            purpose = f"joint/{task}/{number}" if self.cumulative else f"{task}/{number}"
            order = self.stream.presentation(purpose, len(samples))
            clock = perf_counter()
            for size in self._observed(samples, order):
                before, self.samples_seen = self.samples_seen, self.samples_seen + size
                due = self._due(before)
                if due:
                    self.seconds += perf_counter() - clock
                    yield from self._within(task - 1, due)
                    clock = perf_counter()
            self.seconds += perf_counter() - clock
        if self.protocol.boundaries:
            self.learner.end_task()
        self._show(0)
        if self.stream.device.type == "cuda":
            clock = perf_counter()
            torch.cuda.synchronize(self.stream.device)
            self.seconds += perf_counter() - clock
        self._check_losses()
        if self.prequential:
            self._check_logits(torch.stack(self.finite))
            count = len(samples) * self.protocol.passes
            for seed, value in zip(self.stream.seeds, (self.right.double() / count).tolist(), strict=True):
                yield Row(seed, task, task, None, "prequential_accuracy", value, count)

    def _observed(self, samples: Samples, order: Tensor) -> Iterator[int]:
        """Let the learner observe the samples in the order (S, n); yield how many, before each time that something may be due."""
        classes, told = self._revealed(self.task)
        if self.observes_batches and not self.prequential and samples.orders is None:
            yield from self._observed_at_once(samples, order, classes, told)
            return
        for inputs, labels in samples.batches(order, self.batch):
            self._show(self.task if self.reorders else 0)
            observed = Batch(inputs, labels, classes, told)
            if self.prequential:
                logits = self._predicted(inputs, told)
                self.finite.append(_finite(logits))
                self.right += _right(logits, labels, classes)
            self.losses.append(self.learner.observe(observed).detach())
            yield inputs.shape[1]

    def _observed_at_once(self, samples: Samples, order: Tensor, classes: Tensor, told: int | None) -> Iterator[int]:
        """As many batches at once as lie before the next measurement."""
        rows, labels = samples.presented(order)
        first = 0
        while first < len(samples):
            last = min(first + self._until_due() * self.batch, len(samples))
            self._show(self.task if self.reorders else 0)
            given = rows[:, first:last], labels[:, first:last], self.batch, classes, told
            losses = self.learner.observe_batches(Batches(samples.inputs, *given))
            self.losses.extend(losses.detach())
            yield last - first
            first = last

    def _due(self, before: int) -> range:
        """Return the tasks to measure on within the task, when `before` samples had been seen before the last batch."""
        if not self.every:
            return range(0)
        if (self.samples_seen - self.start) // self.every > (before - self.start) // self.every:
            return range(1, self.task + 1)
        return range(self.task, self.task + 1) if len(self.losses) <= LEARNING_CURVE_BATCHES else range(0)

    def _until_due(self) -> int:
        """Return after how many batches something is measured, or after how many to look again."""
        if not self.every:
            return AT_ONCE
        if len(self.losses) < LEARNING_CURVE_BATCHES:
            return 1
        return min(AT_ONCE, -(-(self.every - (self.samples_seen - self.start) % self.every) // self.batch))

    def _revealed(self, task: int) -> tuple[Tensor, int | None]:
        """Return what a training batch reveals: the competing logits, and the task's number in task-il."""
        if self.stream.scenario == "task-il" and self.cumulative:
            return torch.ones(self.stream.n_classes, dtype=torch.bool, device=self.stream.device), None
        return self.stream.competing(task, task), task if self.stream.scenario == "task-il" else None

    def _boundary(self, task: int) -> Iterator[Row]:
        """Yield what belongs to the boundary after `task`: the row of R, bytes, diagnostics, seconds."""
        clock = perf_counter()
        stream = self.stream
        evaluated = evaluated_tasks(self.protocol.evaluate, task, stream.n_tasks)
        before = _copied(self.learner.state_dict()) if task <= 1 else {}  # once untrained, once trained
        counted = [(j, self._correct(task, j)) for j in evaluated]
        self._show(0)
        after = self.learner.state_dict() if before else {}
        changed = [name for name, value in before.items() if not _same(value, after[name])]
        if changed:
            raise _broken(self.learner, f"must change nothing, but changed {', '.join(changed)}")
        for j, correct in counted:
            n = len(stream.test(j))
            for seed, value in zip(stream.seeds, (correct.double() / n).tolist(), strict=True):
                yield Row(seed, task, j, None, "accuracy", value, n)
        seconds = perf_counter() - clock
        if self.protocol.evaluate_every and task == stream.n_tasks and not self.cumulative:
            yield from self._within(task, range(1, task + 1))
        for kind, size in self.learner.memory_bytes().items():
            for seed in stream.seeds:
                yield Row(seed, task, None, None, f"bytes.{kind}", float(size))
        for name, values in self.learner.diagnostics().items():
            for seed, value in zip(stream.seeds, values.double().tolist(), strict=True):
                yield Row(seed, task, None, None, name, value)
        self._show(0)
        yield Row(None, task, None, None, "seconds.train", self.seconds)
        self.seconds = 0.0
        yield Row(None, task, None, None, BOUNDARY, seconds)

    def _within(self, completed: int, tasks: range) -> Iterator[Row]:
        """Yield the accuracy on each task's fixed subsample, at the present position."""
        for j in tasks:
            inputs, labels = self._subsample(j)
            correct = self._count([(inputs, labels)], min(completed + 1, self.stream.n_tasks), j)
            n = labels.shape[1]
            for seed, value in zip(self.stream.seeds, (correct.double() / n).tolist(), strict=True):
                yield Row(seed, completed, j, self.samples_seen, "accuracy_within", value, n)

    def _correct(self, tasks_seen: int, task: int) -> Tensor:
        """Return (S,) counts: test samples of `task` whose label has the highest competing logit."""
        return self._count(self._test(task).blocks(EVALUATION_BATCH), tasks_seen, task)

    def _count(self, blocks: Iterable[tuple[Tensor, Tensor]], tasks_seen: int, task: int) -> Tensor:
        classes = self.stream.competing(tasks_seen, task)
        told = task if self.stream.scenario == "task-il" else None
        self._show(task if self.reorders else 0)
        right = torch.zeros(len(self.stream.seeds), dtype=torch.int64, device=self.stream.device)
        for inputs, labels in blocks:
            logits = self._predicted(inputs, told)
            self._check_logits(_finite(logits)[None], after=len(self.losses))
            right += _right(logits, labels, classes)
        return right

    def _predicted(self, inputs: Tensor, told: int | None) -> Tensor:
        """Return the learner's logits (S, N, C); refuse others, which would be broadcast, and images written to."""
        version = inputs._version
        logits = self.learner.predict(inputs, told)
        wanted = (len(self.stream.seeds), inputs.shape[1], self.stream.n_classes)
        if logits.shape != wanted:
            raise _broken(self.learner, f"must return logits (S, N, C) = {wanted}, got {tuple(logits.shape)}")
        if inputs._version != version:
            raise _broken(self.learner, "must not write to its inputs")
        return logits

    def _test(self, task: int) -> Samples:
        samples = self.stream.test(task)
        return samples if self.reorders else self.stream.ordered(samples, task)

    def _subsample(self, task: int) -> tuple[Tensor, Tensor]:
        """Return the fixed subsample of a task's test set, drawn once and the same for all seeds."""
        if task not in self.subsamples:
            samples = self._test(task)
            chosen = draws.permutation((draws.FIXED,), f"evaluation/{task}", len(samples))[:, :WITHIN_SAMPLES]
            self.subsamples[task] = samples.take(torch.from_numpy(chosen).to(self.stream.device))
        return self.subsamples[task]

    def _check_losses(self) -> None:
        """Raise for the first loss of the task that is not finite."""
        losses = torch.stack(self.losses)
        bad = ~torch.isfinite(losses)
        if bad.any():
            step, index = (int(part) for part in bad.nonzero()[0])
            raise _not_finite(self.stream.seeds[index], self.task, step + 1, f"the loss is {losses[step, index].item()}")

    def _check_logits(self, finite: Tensor, *, after: int = 0) -> None:
        """Raise for the first logits that are not finite; `finite` (batches, S), the first batch after so many steps."""
        if not finite.all():
            if self.losses:
                self._check_losses()
            step, index = (int(part) for part in (~finite).nonzero()[0])
            raise _not_finite(self.stream.seeds[index], self.task, after + step, "a logit is not finite")

    def _show(self, task: int) -> None:
        """Put the learner's first layer into the pixel order of `task` (0: its own), so that unpermuted images can be fed.

        A learner in its own order computes sum_i W[i] x[order[i]] = sum_p W[inverse[p]] x[p]: weights move, images do not.
        """
        if task == self.shown:
            return
        back = self.stream.pixel_order(self.shown) if self.shown else None
        there = self.stream.pixel_order(task) if task else None
        order = there.argsort(1) if there is not None else None
        if back is not None:
            order = back.gather(1, order) if order is not None else back
        self.learner.permute_inputs(order)  # type: ignore[attr-defined]
        self.shown = task


def _finite(logits: Tensor) -> Tensor:
    """Return (S,) bool: whether every logit of a seed is finite."""
    return torch.isfinite(logits).flatten(1).all(1)


def _right(logits: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return (S,) counts: samples whose label has the highest competing logit."""
    return (logits.masked_fill(~classes, -torch.inf).argmax(-1) == labels).sum(-1)


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def _same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors hold the same values, NaN being one."""
    if torch.equal(one, other):
        return True
    if one.shape != other.shape or not one.is_floating_point():
        return False
    return bool(torch.isclose(one, other, rtol=0.0, atol=0.0, equal_nan=True).all())


def _broken(learner: Learner, rule: str) -> NlbenchError:
    return NlbenchError(f"{type(learner).__name__}.predict {rule}.", "No record was written. Mend the learner.")


def _not_finite(seed: int, task: int, step: int, what: str) -> NotFiniteError:
    place = f"task {task}, step {step}" if task else "before the first task"
    return NotFiniteError(f"seed {seed}, {place}: {what}.", "No record was written. Lower the learner's rate.")
