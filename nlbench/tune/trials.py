"""Trials of a search: what is asked of a candidate, what a worker answers, and which answers are known already."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import SEEK_END
from pathlib import Path
from signal import SIGINT
from time import monotonic, perf_counter
from typing import IO, Final

import numpy as np
import torch

from nlbench import metrics
from nlbench.errors import InterruptedRunError, NlbenchError, NotFiniteError, RecordError
from nlbench.plan import Machine, Plan
from nlbench.protocol import evaluate_stream, evaluated_tasks
from nlbench.runner import build_learner, build_stream, shortages_told, threads
from nlbench.stopping import Stopping
from nlbench.streams.stream import Stream
from nlbench.streams.validation import ValidationStream
from nlbench.sweep import Engine, drive
from nlbench.tune.samplers import Sampler
from nlbench.tune.search import Trial
from nlbench.tune.space import Space

SHARE: Final = 0.2
TUNING_SEEDS: Final = (100, 101, 102)
"""Not the seeds that results are reported on."""


@dataclass(frozen=True)
class Question:
    """What is asked of a candidate: `plan` decides it; its score is the mean of `objective` over the plan's seeds on held-out
    parts of the training sets of the first `tasks` tasks.
    """

    plan: Plan
    values: dict[str, str]
    tasks: int
    objective: str
    machine: Machine

    @property
    def name(self) -> str:
        """The question in one line that no other shares, code included."""
        return json.dumps([self.plan.model, self.plan.stream_name, self.values, self.tasks, self.objective, self.plan.run])

    def perform(self) -> Trial:
        """Return its answer; a candidate that diverges has no score."""
        clock = perf_counter()
        with shortages_told():
            try:
                scored = self._scored(_stream(self.plan, self.tasks, self.machine))
            except NotFiniteError:
                return Trial(self.values, None, {}, perf_counter() - clock)
        names = dict.fromkeys(("average_accuracy", "forgetting", "forgetting_first", "learning_accuracy", self.objective))
        values = {name: [one[name].value for one in scored] for name in names}
        means = {name: _mean(found) for name, found in values.items()}
        scores = tuple(value for value in values[self.objective] if value is not None)
        return Trial(self.values, means[self.objective], means, perf_counter() - clock, scores)

    @torch.no_grad()
    def _scored(self, stream: Stream) -> list[dict[str, metrics.Value]]:
        plan = self.plan
        accuracy = np.ma.masked_all((len(plan.seeds), stream.n_tasks + 1, stream.n_tasks))
        with threads(plan, stream, self.machine), Stopping() as stopping:
            learner = build_learner(plan, stream, self.machine.backend)
            for row in evaluate_stream(learner, stream, batch=plan.batch, presents=plan.learner.presents):
                if stopping.signal is not None:
                    raise KeyboardInterrupt
                if row.metric == "accuracy":
                    accuracy[plan.seeds.index(row.seed), row.after_task, row.on_task - 1] = row.value  # type: ignore[operator]
        return [metrics.compute(matrix, conflict=plan.stream.stream.conflicts) for matrix in accuracy]


_last: Final[dict[tuple[object, ...], Stream]] = {}
"""The stream that was built last: most candidates of a search have the same."""


def _stream(plan: Plan, tasks: int, machine: Machine) -> Stream:
    declared = plan.declared
    spec, data = declared.spec.model_dump_json(), json.dumps(declared.data)
    key = declared.name, spec, data, plan.seeds, tasks, machine.device, machine.data
    if key not in _last:
        _last.clear()
        _last[key] = ValidationStream(build_stream(plan, machine), tasks, SHARE)
    return _last[key]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


@dataclass(frozen=True)
class Trials:
    """A file of trials, one a line as each ends: what stands there is not tried again. Without a path nothing is kept."""

    path: Path | None = None

    def read(self) -> dict[str, Trial]:
        """Return the trials by the name of their question; a last line that was cut short is passed over. Raises `RecordError`
        for a line that is none.
        """
        if self.path is None or not self.path.exists():
            return {}
        found = {}
        whole = self.path.read_bytes().rpartition(b"\n")[0]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                said = json.loads(line)
                found[said["question"]] = Trial(**{**said["trial"], "scores": tuple(said["trial"]["scores"])})
            except (ValueError, LookupError, TypeError):
                raise RecordError(f"{self.path}: line {number} is no trial.", "Remove the line: it is tried again.") from None
        return found

    def add(self, question: Question, trial: Trial) -> None:
        """Add a trial to the file, over a last line that was cut short. Raises `RecordError` where it cannot be written."""
        if self.path is None:
            return
        line = json.dumps({"question": question.name, "trial": asdict(trial)}) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                file.truncate(_lines_end(file))
                file.write(line.encode())
        except OSError as error:
            raise RecordError(f"cannot write {self.path}: {error.strerror}.", "Name another file with --trials.") from error


def _lines_end(file: IO[bytes]) -> int:
    """Return where the last whole line of a file ends."""
    size = file.seek(0, SEEK_END)
    file.seek(max(0, size - 1))
    if file.read(1) in (b"", b"\n"):
        return size
    file.seek(0)
    return file.read().rfind(b"\n") + 1


UNKEPT: Final = Trials()


def check(plan: Plan, space: Space, tasks: int, objective: str) -> None:
    """Raise `NlbenchError` for a space with nothing in it or with a key that is neither `learner.<key>` nor `batch`, and for an
    objective that is no metric or cannot be measured on so many tasks.
    """
    if not space or any(not values for values in space.values()):
        raise NlbenchError("the search space is empty.", "Give it as --space learner.rate=0.03,0.1,0.3.")
    fixed = [key for key in space if key != "batch" and not key.startswith("learner.")]
    if fixed:
        raise NlbenchError(
            f"--space {fixed[0]}: a search varies learner.<key> and batch only.",
            "Fix other facts for all candidates with --set.",
        )
    if objective not in metrics.METRICS:
        raise NlbenchError(f"objective must be a metric, got {objective!r}.", "See `nlbench list metrics`.")
    count = min(tasks, plan.stream.stream.tasks)
    matrix = np.ma.masked_all((count + 1, count))
    for task in range(count + 1):
        matrix[task, [j - 1 for j in evaluated_tasks(plan.stream.protocol.evaluate, task, count)]] = 0.5
    value = metrics.compute(matrix, conflict=plan.stream.stream.conflicts).get(objective)
    if value is None or value.value is None:
        why = value.reason if value is not None else "it needs other runs"
        raise NlbenchError(
            f"objective {objective} cannot be measured on {count} tasks: {why}.", "Choose another, or more --tasks."
        )


def tune(
    ask: Callable[[Mapping[str, str]], Question],
    sampler: Sampler,
    engine: Engine,
    *,
    budget: int,
    trials: Trials = UNKEPT,
    seconds: float | None = None,
) -> Iterator[Trial]:
    """Yield every trial as it ends, known ones first told to the sampler as if they had ended now.

    `ask` gives the question for a point's values. At most `budget` points are tried, known ones counted, and after `seconds` no
    more begin. Raises what a candidate failed of, when those that are running have ended, and `InterruptedRunError` for a signal:
    what ended is in the file.
    """
    known, until = trials.read(), None if seconds is None else monotonic() + seconds
    recalled: list[Trial] = []
    failed, interrupted = "", False
    with Stopping() as stopping, engine:

        def questions() -> Iterator[Question]:
            for _ in range(budget):
                if failed or (until is not None and monotonic() >= until) or (point := sampler.ask()) is None:
                    return
                question = ask(point)
                question = replace(question, machine=replace(question.machine, threads=engine.threads))
                if (trial := known.get(question.name)) is not None:
                    sampler.tell(point, _toward(trial, question.objective))
                    recalled.append(trial)
                else:
                    engine.start()
                    yield question

        for question, end in drive(engine, questions(), stopping):
            if end.how == "done":
                trial = end.value
                trials.add(question, trial)
                sampler.tell(question.values, _toward(trial, question.objective))
                yield trial
            elif end.how == "interrupted":
                interrupted = True
            else:
                failed = failed or end.error
            yield from _emptied(recalled)
        yield from _emptied(recalled)
    if failed:
        raise NlbenchError(failed)
    if interrupted or stopping.signal is not None:
        raise InterruptedRunError("interrupted.", _resumes(trials), stopping.signal or SIGINT)


def _emptied(trials: list[Trial]) -> Iterator[Trial]:
    while trials:
        yield trials.pop(0)


def _resumes(trials: Trials) -> str:
    if trials.path is None:
        return "Nothing is kept: --trials FILE keeps every trial as it ends."
    return f"Trials that ended are kept in {trials.path}; the same command goes on."


def _toward(trial: Trial, objective: str) -> float | None:
    """Return a score of which more is better."""
    if trial.score is None:
        return None
    return trial.score if metrics.METRICS[objective].better == "higher" else -trial.score
