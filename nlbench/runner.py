"""A plan -> stream, learner, protocol -> record. Saves a checkpoint at every task boundary and resumes from it; rows come out
as they are made.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import accumulate, islice
from pathlib import Path
from time import perf_counter
from typing import Any, Final, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nlbench.batch import Batch, Learner, Problem
from nlbench.errors import BackendError, RecordError, UnknownNameError
from nlbench.kernels.backends import Backend
from nlbench.kernels.threads import single_torch_thread
from nlbench.learners.building import build
from nlbench.plan import Machine, Plan
from nlbench.protocol import BOUNDARY, evaluate_stream, evaluated_tasks, training_batches
from nlbench.records import Row, add_execution, environment
from nlbench.streams.arrays import ArrayStream, ArrayTasks
from nlbench.streams.building import build as built_stream
from nlbench.streams.stream import Stream


def torch_device(name: str) -> torch.device:
    """Return the device to run on; `auto` is the GPU where there is one. Raises `BackendError` if it is asked for and absent."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise BackendError(f"device {name!r} needs a CUDA device; none is visible.", "Use --device cpu.")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise BackendError(f"device must be auto, cpu or cuda, got {name!r}.")
    return torch.device(name)


def build_stream(plan: Plan, machine: Machine, declared: ArrayTasks | None = None) -> Stream:
    """Return the stream of a plan, its data loaded and verified; `declared` is the stream itself where it was made in Python."""
    device = torch_device(machine.device)
    if declared is not None:
        return ArrayStream(replace(declared, spec=plan.stream), plan.seeds, device)
    return built_stream(plan.stream_name, plan.stream, plan.seeds, device, machine.data)


def prepare(plan: Plan, machine: Machine, declared: ArrayTasks | None = None) -> tuple[Stream, Learner]:
    """Return the stream and the learner of a plan, ready for the first batch."""
    if machine.backend not in get_args(Backend):
        raise UnknownNameError("backend", machine.backend, get_args(Backend))
    stream = build_stream(plan, machine, declared)
    steps = training_batches(stream, plan.batch, plan.learner.presents)
    described = (stream.input_shape, stream.n_classes, stream.seeds, stream.scenario, stream.device)
    problem = Problem(*described, machine.backend, steps, plan.precision)
    return stream, build(plan.learner.learner, problem)


@torch.no_grad()
def execute(
    plan: Plan, results: Path, machine: Machine, declared: ArrayTasks | None = None, *, force: bool = False
) -> Generator[Row, None, tuple[int, ...]]:
    """Run the plan's seeds and yield every row, those of a resumed checkpoint first; when it ends, the record is written, and
    the seeds that were added to it are returned: all, but those that another run recorded meanwhile.

    Seeds that the record already holds must not be in the plan unless `force`, which makes the record anew from these seeds
    alone. A killed run leaves a checkpoint at its last task boundary; the same plan resumes from it, and `force` does not.
    """
    checkpoint = Checkpoint.of(plan, results)
    checkpoint.check_writable()
    if force:
        checkpoint.delete()
    stream, learner = prepare(plan, machine, declared)
    rows, completed, state = checkpoint.load()
    cumulative = plan.learner.presents == "cumulative"
    if state and not cumulative:
        learner.load_state_dict(state)
    yield from rows
    texts = [_text(rows)] if rows else []
    fresh: list[Row] = []  # encoded at the next boundary: all rows at each boundary would take longer and longer
    with threads(plan.batch * torch.Size(stream.input_shape).numel()) as used:
        for row in evaluate_stream(learner, stream, batch=plan.batch, presents=plan.learner.presents, completed=completed):
            rows.append(row)
            fresh.append(row)
            if row.metric == BOUNDARY and row.after_task != plan.stream.stream.tasks:
                texts.append(_text(fresh))
                fresh.clear()
                checkpoint.save(texts, {} if cumulative else learner.state_dict())
            yield row
    metadata = {**plan.describe(), **_ran_on(learner.backend, stream.device, results), "threads": used, "run": checkpoint.run}
    added = add_execution(plan.record_path(results), rows=rows, metadata=metadata, replace=force)
    checkpoint.delete()
    return added


SMALL: Final = 32_768
"""Numbers in one seed's batch below which a second thread costs more than it brings."""


@contextmanager
def threads(numbers: int) -> Iterator[int]:
    """Give the number of threads torch runs with: one where a batch holds few numbers, otherwise as many as it has; put it
    back afterwards.
    """
    with single_torch_thread() if numbers < SMALL else nullcontext():
        yield torch.get_num_threads()


def _ran_on(backend: str, device: torch.device, results: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {"backend": backend, "device": device.type}
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return {**facts, "environment": environment.describe(results)}


@dataclass(frozen=True)
class Checkpoint:
    """One file at the last task boundary: the learner's tensors, and the rows so far in its header."""

    path: Path
    run: str

    @classmethod
    def of(cls, plan: Plan, results: Path) -> Checkpoint:
        """Return the place of the checkpoint of exactly this plan, seeds included."""
        run = blake2b(f"{plan.fingerprint}/{plan.seeds}".encode(), digest_size=6).hexdigest()
        return cls(results / ".checkpoints" / f"{plan.model}.{plan.stream_name}.{run}.safetensors", run)

    def check_writable(self) -> None:
        """Raise `RecordError` now rather than after the work if results cannot be written."""
        probe = self.path.with_suffix(f".{os.getpid()}.probe")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise RecordError(
                f"{self.path.parent.parent}: results cannot be written: {error.strerror}.", "Name another folder with --results."
            ) from None

    def save(self, texts: Sequence[str], state: dict[str, Tensor]) -> None:
        """Replace the file atomically; `texts` are the rows so far as JSON, a part a boundary."""
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
        part = self.path.with_suffix(f".{os.getpid()}.part")
        try:
            save_file(tensors, part, metadata={"rows": f"[{','.join(texts)}]"})
            part.replace(self.path)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            raise RecordError(
                f"{self.path}: the checkpoint cannot be written: {error}.",
                "Free some space or name another folder with --results.",
            ) from None

    def load(self) -> tuple[list[Row], int | None, dict[str, Tensor]]:
        """Return the rows, the tasks completed and the learner's state; nothing if there is no checkpoint."""
        if not self.path.is_file():
            return [], None, {}
        try:
            with safe_open(self.path, framework="pt") as file:
                rows = [Row(*row) for row in json.loads(file.metadata()["rows"])]
                return rows, rows[-1].after_task, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(
                f"{self.path}: the checkpoint cannot be read: {error}.", "Delete it, or start anew with --force."
            ) from None

    def delete(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def _text(rows: Sequence[Row]) -> str:
    """Return rows as JSON, without the brackets around them all."""
    return json.dumps(rows)[1:-1]


@dataclass(frozen=True)
class Estimate:
    """What a run would cost, measured on copies of its first batches."""

    steps: int
    updates: dict[int, int]
    bytes_per_seed: dict[str, int]
    seconds: float


@torch.no_grad()
def estimate(plan: Plan, machine: Machine, declared: ArrayTasks | None = None) -> Estimate:
    """Return steps, updates of each level up to the last row, bytes and a time estimate from a few timed batches; nothing is
    recorded.
    """
    stream, learner = prepare(plan, machine, declared)
    samples = stream.ordered(stream.train(1), 1)
    classes = stream.competing(1, 1)
    order = stream.presentation("1/0", len(samples))
    told = 1 if stream.scenario == "task-il" else None
    prequential = stream.spec.protocol.prequential and plan.learner.presents != "cumulative"
    spent = []
    with threads(plan.batch * torch.Size(stream.input_shape).numel()):
        for inputs, labels in islice(samples.batches(order, plan.batch), 13):
            clock = perf_counter()
            if prequential:
                learner.predict(inputs, told)
            learner.observe(Batch(inputs, labels, classes, told))
            spent.append(perf_counter() - clock)
        inputs, labels = next(stream.ordered(stream.test(1), 1).blocks(2000))
        clock = perf_counter()
        learner.predict(inputs, told)
        per_sample = (perf_counter() - clock) / labels.shape[1]
    tasks = range(1, stream.n_tasks + 1)
    policy = stream.spec.protocol.evaluate
    rows = (evaluated_tasks(policy, task, stream.n_tasks) for task in range(stream.n_tasks + 1))
    tested = sum(len(stream.test(task)) for row in rows for task in row)
    last = training_batches(stream, plan.batch, plan.learner.presents)
    steps = last
    if plan.learner.presents == "cumulative":
        sizes = accumulate(stream.train_size(task) for task in tasks)
        steps = plan.stream.protocol.passes * sum(-(-size // plan.batch) for size in sizes)
    periods = sorted(int(name.split(".")[1]) for name in learner.diagnostics() if name.endswith(".updates"))
    return Estimate(
        steps=steps,
        updates={period: last // period for period in periods},
        bytes_per_seed=learner.memory_bytes(),
        seconds=steps * sorted(spent)[len(spent) // 2] + tested * per_sample,
    )
