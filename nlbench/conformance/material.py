"""A tiny made stream, and a learner that meets it under the terms it declares.

Shapes: S seeds, N test samples of all tasks, C logits, d numbers in a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Final

import numpy as np
import torch
from torch import Tensor

from nlbench import plan as plans
from nlbench import seeds as draws
from nlbench.batch import Batch, Batches, Learner, needs
from nlbench.errors import SpecError
from nlbench.learners.building import find
from nlbench.plan import DeclaredStream, Machine, Plan, stream_from_arrays
from nlbench.protocol import Meeting, Position, Schedule
from nlbench.runner import build_learner, build_stream, threads
from nlbench.state import collect
from nlbench.streams.stream import Stream

SEEDS: Final = (0, 1, 3)
ALONE: Final = 3
"""The seed that is tried without the others too."""

TASKS: Final = 3
CLASSES: Final = 2
"""Of each task."""
TRAIN: Final = 44
TEST: Final = 20
BATCH: Final = 8
EVERY: Final = 20
"""Samples between measurements within a task."""

SHAPE: Final = (1, 16, 16)
NOISE: Final = 0.75
OWN: Final = 0.5
"""Of a class's centre, beside what all classes have in common, over which plain fine-tuning forgets."""
STEP: Final = 16
"""Inputs are whole multiples of one in so many: a sample is found again whatever dtype it is kept in."""


def made_stream(shape: Sequence[int], scenario: str, *, boundaries: bool, blind: bool = False) -> DeclaredStream:
    """Return a stream of three tasks of two classes each, noise around a drawn centre.

    A `blind` one is the same to whoever learns its first task and looks at nothing else: its test labels are the other class's,
    and what later tasks train on is other noise.
    """
    d, n_classes = int(np.prod(shape)), TASKS * CLASSES
    common, own = (draws.generator(draws.FIXED, f"conformance/{name}") for name in ("common", "centres"))
    centres = common.standard_normal(d) + OWN * own.standard_normal((n_classes, d))
    tasks = []
    for task in range(TASKS):
        parts: list[np.ndarray] = []
        for kind, n in (("train", TRAIN), ("test", TEST)):
            hidden = blind and (kind == "test" or task > 0)
            rng = draws.generator(draws.FIXED, f"conformance/{kind}/{task}{'/other' if hidden and kind == 'train' else ''}")
            labels = CLASSES * task + np.arange(n) % CLASSES
            inputs = centres[labels] + NOISE * rng.standard_normal((n, d))
            rounded = (np.round(inputs * STEP) / STEP).astype(np.float32).reshape(n, *shape)
            parts += [rounded, labels ^ 1 if hidden and kind == "test" else labels]
        tasks.append(tuple(parts))
    return stream_from_arrays("made", tasks, scenario=scenario, batch=BATCH, boundaries=boundaries, evaluate_every=EVERY)


@dataclass(frozen=True)
class Candidate:
    """The learner that is examined: what it was planned as, and the machine it is tried on."""

    plan: Plan
    machine: Machine
    shape: tuple[int, ...]

    @classmethod
    def of(cls, model: object, overrides: Mapping[str, str], machine: Machine, shape: Sequence[int]) -> Candidate:
        """Return a learner under the poorest terms that it declares to need: told no task and no boundary unless it must be, and
        met in sequence whatever its recipe presents.
        """
        if of_stream := [key for key in overrides if key.startswith("stream.") and key != "stream.scenario"]:
            rule = "must be left out: a learner is examined on small streams that are made for it, of any stream.scenario"
            raise SpecError([f"--set {key}: {rule}" for key in of_stream])
        terms = {"batch": str(BATCH), "presents": "sequential", **overrides}

        def planned(scenario: str, boundaries: bool) -> Plan:
            made = made_stream(shape, scenario, boundaries=boundaries)
            return plans.resolve(model, made, seeds=SEEDS, overrides=terms)

        plan = planned("class-il", False)
        needed = needs(find(plan.learner.learner.kind))  # type: ignore[attr-defined]
        if needed:
            plan = planned("task-il" if "task" in needed else "class-il", "boundaries" in needed)
        return cls(plan, machine, tuple(shape))

    @cached_property
    def kind(self) -> type[Learner]:
        """Its class."""
        return find(self.plan.learner.learner.kind)  # type: ignore[attr-defined]

    @cached_property
    def blind(self) -> DeclaredStream:
        """The same stream, on the same terms, to whoever looks at nothing that it is not shown."""
        spec = self.plan.stream
        made = made_stream(self.shape, spec.stream.scenario, boundaries=spec.protocol.boundaries, blind=True)
        return replace(self.plan.declared, source=made.source)

    def trial(self, seeds: Sequence[int] = SEEDS, declared: DeclaredStream | None = None) -> Trial:
        """Return the learner made anew, before a stream of these seeds."""
        plan = replace(self.plan, seeds=tuple(seeds), declared=declared or self.plan.declared)
        stream = build_stream(plan, self.machine)
        return Trial(plan, stream, build_learner(plan, stream, self.machine.backend))

    @cached_property
    def fed(self) -> Trial:
        """The learner after all tasks, shown every batch and asked nothing."""
        return self.trial().feed()

    @cached_property
    def taught(self) -> dict[str, Tensor]:
        """What it holds then, before it is asked anything."""
        return {name: value.clone() for name, value in self.fed.learner.state_dict().items()}

    @cached_property
    def answered(self) -> Tensor:
        """What it answers then, (S, N, C)."""
        assert self.taught  # kept before predict is called, which may not be pure
        return self.fed.answers()


@dataclass
class Trial:
    """One learner before one stream."""

    plan: Plan
    stream: Stream
    learner: Learner

    def __post_init__(self) -> None:
        self.meeting = Meeting(self.learner, self.stream, Schedule.of(self.stream, self.plan.batch, "sequential"))

    def feed(self, tasks: int = TASKS) -> Trial:
        """Show the batches of the first tasks, with nothing measured between them; return the trial."""
        for task in range(1, tasks + 1):
            for shown in self.batches(task):
                self.meeting.learn(shown)
            self.end_task()
        return self

    def batches(self, task: int) -> Iterator[Batch | Batches]:
        """Yield what the learner is shown of a task."""
        self.meeting.begin(task)
        for _, shown in chain.from_iterable(self.meeting.feed.passes(Position(task))):
            yield shown

    def end_task(self) -> None:
        """Tell that a task ended, where that is told."""
        if self.stream.spec.protocol.boundaries:
            self.learner.end_task()

    def answers(self, inputs: Tensor | None = None) -> Tensor:
        """Return logits (S, N, C) of all test samples, or of others (1 or S, N, …) in their place, task by task where the task is
        told, otherwise in one block.
        """
        shown = self.tests if inputs is None else inputs
        if self.stream.scenario != "task-il":
            return self.learner.predict(shown, None)
        parts = shown.split(TEST, dim=1)
        return torch.cat([self.learner.predict(part, task) for task, part in enumerate(parts, 1)], 1)

    @cached_property
    def tests(self) -> Tensor:
        """All test inputs, (1, N, …)."""
        return torch.cat([inputs for task in range(1, TASKS + 1) for inputs, _ in self.stream.test(task).blocks(TEST)], 1)

    @cached_property
    def labels(self) -> Tensor:
        """Their labels, (N,)."""
        return torch.cat([labels[0] for task in range(1, TASKS + 1) for _, labels in self.stream.test(task).blocks(TEST)])

    def right(self, logits: Tensor, tasks_seen: int) -> Tensor:
        """Return (S, T): the share of each task's test samples that logits (S, N, C) have right."""
        found = []
        for task, part in enumerate(logits.split(TEST, dim=1), 1):
            classes = self.stream.competing(tasks_seen, task)
            labels = self.labels[TEST * (task - 1) : TEST * task]
            found.append((part.masked_fill(~classes, -torch.inf).argmax(-1) == labels).double().mean(1))
        return torch.stack(found, 1)

    def held(self) -> dict[str, Tensor]:
        """Return every tensor the learner holds."""
        return self.learner.everything() if self.learner.outside else collect(self.learner)


@contextmanager
def trying(candidate: Candidate) -> Iterator[None]:
    """Hold to what a run holds to: no gradients, and its number of threads."""
    stream = build_stream(candidate.plan, candidate.machine)
    with torch.no_grad(), threads(candidate.plan, stream, candidate.machine):
        yield
