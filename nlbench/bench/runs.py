"""Speed of whole runs, beside a tight hand-written loop that learns the same in the same process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import numpy as np
import torch

from nlbench.bench.commands import COMMANDS, METHODS, CommandTiming, time_commands
from nlbench.bench.kernels import Limits, measure_limits
from nlbench.bench.loop import Outcome, Perceptron, Task, learn
from nlbench.learners.mlp import Mlp
from nlbench.plan import Machine, Plan, resolve
from nlbench.protocol import Schedule, evaluate_stream
from nlbench.runner import build_stream, prepare, threads
from nlbench.streams.stream import Stream

LOOP: Final = "tight loop"
MEAN_AGREES: Final = 0.002


class Case(NamedTuple):
    """A run to time: recipe, stream, how many seeds, the batch if not the stream's own, and whether it is measured within tasks
    too where the stream says so.

    On digits that is after each step: what is timed is then the way from Python into a kernel, with other work in the caches.
    """

    model: str
    stream: str
    seeds: int
    batch: int | None = None
    within: bool = True

    def plan(self) -> Plan:
        overrides = {"batch": str(self.batch)} if self.batch else {}
        plan = resolve(self.model, self.stream, seeds=tuple(range(self.seeds)), overrides=overrides)
        if self.within:
            return plan
        protocol = plan.stream.protocol.model_copy(update={"evaluate_every": None})
        spec = plan.stream.model_copy(update={"protocol": protocol})
        return replace(plan, declared=replace(plan.declared, spec=spec))


CASES: Final = (
    Case("mlp", "split-mnist", 1),
    Case("mlp", "split-mnist", 10),
    Case("mlp", "permuted-mnist", 1),
    Case("mlp", "split-digits", 10, batch=32),
    Case("mlp", "split-digits", 10, batch=32, within=False),
    Case("hope", "split-digits", 5),
)


@dataclass(frozen=True, slots=True)
class Check:
    """How far seed 0's accuracies are from the loop's: the worst cell in test samples, and the last row's mean.

    Rounding differs, and thousands of steps make it larger; the rule is that the means agree within 0.002.
    """

    case: Case
    worst_samples: float
    mean_difference: float

    @property
    def passed(self) -> bool:
        return self.mean_difference <= MEAN_AGREES


@dataclass(frozen=True, slots=True)
class RunTiming:
    """Medians of a run's or the loop's seconds, training with its range; the loop learns one seed.

    step_us   microseconds of training a step and seed
    samples   trained a second, all seeds together
    ratio     the loop's training time a seed over this one's; None without a loop
    """

    case: Case
    implementation: str
    train: float
    train_low: float
    train_high: float
    evaluate: float
    step_us: float
    samples: float
    ratio: float | None


@dataclass(frozen=True, slots=True)
class RunReport:
    """Whether runs and loop learned the same, then their times."""

    limits: Limits
    checks: tuple[Check, ...]
    timings: tuple[RunTiming, ...]
    commands: tuple[CommandTiming, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def bench_runs(
    *,
    streams: Sequence[str] = (),
    repeats: int = 5,
    commands: bool = True,
    methods: bool = False,
    data: Path | None = None,
    cases: Sequence[Case] = CASES,
    listen: Callable[[str], None] = lambda line: None,
) -> RunReport:
    """Time the cases' runs and the loop in turns, then whole commands in turns.

    streams   only these; none: all. Streams whose data are missing raise `DataError`
    commands  also time `nlbench run` from start to end, beside the loop as a program and `import torch`
    methods   also time commands of methods on split-mnist that measure at boundaries only, where Avalanche is installed beside
              a program that uses it and does the same
    listen    is given a line of what is timed, as it comes
    """
    chosen = [case for case in cases or CASES if not streams or case.stream in streams]
    checks, timings = [], []
    for case in chosen:
        found, timed = time_case(case, Machine(device="cpu", backend="numba", data=data), repeats)
        for each in timed:
            listen(f"{case.model} {case.stream}, {case.seeds} seeds, {each.implementation}: {each.train:.3g} s of training")
        checks += found
        timings += timed
    wanted = [*(COMMANDS if commands else ()), *(METHODS if methods else ())]
    wanted = [each for each in wanted if not streams or each.stream in streams]
    whole = list(time_commands(wanted, repeats, data, listen=listen)) if wanted else []
    return RunReport(measure_limits(), tuple(checks), tuple(timings), tuple(whole))


def time_case(case: Case, machine: Machine, repeats: int) -> tuple[list[Check], list[RunTiming]]:
    """The check against the loop, if the case has one, and the timings of both, in turns."""
    plan = case.plan()
    implementations: dict[str, Callable[[], Outcome]] = {"nlbench": lambda: run(plan, machine)}
    if case.model == "mlp":
        implementations[LOOP] = lambda: loop(plan, machine)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in implementations}
    for _ in range(repeats):
        for name, implementation in implementations.items():
            outcomes[name].append(implementation())
    schedule = Schedule.of(build_stream(plan, machine), plan.batch, plan.learner.presents)
    samples = schedule.seen_before(schedule.n_tasks + 1)
    plain = median(each.train for each in outcomes[LOOP]) if LOOP in outcomes else None
    timings = []
    for name, found in outcomes.items():
        seeds = case.seeds if name == "nlbench" else 1
        seconds = [each.train for each in found]
        middle = median(seconds)
        per_step, rate = middle / schedule.steps / seeds * 1e6, samples * seeds / middle
        ratio = plain / (middle / seeds) if plain is not None else None
        evaluate = median(each.evaluate for each in found)
        timings.append(RunTiming(case, name, middle, min(seconds), max(seconds), evaluate, per_step, rate, ratio))
    return [_compared(case, plan, machine, *(found[0] for found in outcomes.values()))] if plain is not None else [], timings


def _compared(case: Case, plan: Plan, machine: Machine, ours: Outcome, theirs: Outcome) -> Check:
    stream = build_stream(plan, machine)
    tested = np.array([len(stream.test(task)) for task in range(1, stream.n_tasks + 1)])
    difference = np.abs(ours.accuracies - theirs.accuracies)
    means = abs(ours.accuracies[-1].mean() - theirs.accuracies[-1].mean())
    return Check(case, float((difference * tested).max()), float(means))


@torch.no_grad()
def run(plan: Plan, machine: Machine) -> Outcome:
    """What a run of the plan measures, without reading data and writing the record; accuracies are those of its first seed."""
    stream, learner = prepare(plan, machine)
    matrix = np.zeros((stream.n_tasks + 1, stream.n_tasks))
    seconds = {"seconds.train": 0.0, "seconds.evaluate": 0.0}
    with threads(plan, stream, machine):
        for row in evaluate_stream(learner, stream, batch=plan.batch, presents=plan.learner.presents):
            if row.metric in seconds:
                seconds[row.metric] += row.value or 0.0
            if row.metric == "accuracy" and row.seed == stream.seeds[0]:
                matrix[row.after_task or 0, (row.on_task or 0) - 1] = row.value
    return Outcome(matrix, seconds["seconds.train"], seconds["seconds.evaluate"])


def loop(plan: Plan, machine: Machine) -> Outcome:
    """The same learning by the tight loop, for the plan's first seed."""
    stream, learner = prepare(plan, machine)
    assert isinstance(learner, Mlp)
    net = Perceptron([each[0] for each in learner.weights], [each[0] for each in learner.biases], plan.batch)
    with threads(plan, stream, machine):
        return learn(
            net,
            list(_tasks(stream)),
            seed=stream.seeds[0],
            batch=plan.batch,
            rate=plan.learner.learner.rate,  # type: ignore[attr-defined]
            every=stream.spec.protocol.evaluate_every,
        )


def _tasks(stream: Stream) -> Iterator[Task]:
    """The first seed's tasks as the loop takes them."""
    for number in range(1, stream.n_tasks + 1):
        train, test, order = stream.train(number), stream.test(number), stream.pixel_order(number)
        inputs, labels = next(test.blocks(len(test)))
        yield Task(
            train.inputs.flatten(1),
            train.rows[0],
            train.labels[0],
            inputs[0].flatten(1),
            labels[0],
            None if order is None else order[0],
        )
