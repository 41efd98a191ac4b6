"""A plan -> the stream and the learner that run, and the threads they run with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, get_args

import torch

from nlbench.batch import Learner, Problem, needs
from nlbench.errors import BackendError, NlbenchError, UnknownNameError
from nlbench.kernels.backends import Backend
from nlbench.kernels.threads import single_torch_thread, torch_threads
from nlbench.learners.building import build, find
from nlbench.protocol import Schedule, problem_of
from nlbench.runner.cores import share
from nlbench.streams.building import build as built_stream
from nlbench.streams.stream import Stream

if TYPE_CHECKING:
    from nlbench.plan import Machine, Plan

SMALL: Final = 32_768
"""Numbers in one seed's batch below which a second thread costs more than it brings."""


def torch_device(name: str) -> torch.device:
    """Return the device to run on; `auto` is the GPU where there is one. Raises `BackendError` if it is asked for and absent."""
    if not isinstance(name, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise BackendError(f"device must be auto, cpu or cuda, got {name!r}.")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise BackendError(f"device {name!r} needs a CUDA device; none is visible.", "Use --device cpu.")
    return torch.device(name)


def build_stream(plan: Plan, machine: Machine) -> Stream:
    """Return the stream of a plan, its data loaded and verified."""
    return built_stream(plan.declared, plan.seeds, torch_device(machine.device), machine.data)


def build_learner(plan: Plan, stream: Stream, backend: str) -> Learner:
    """Return the learner of a plan for a stream, the plan's own or one made of it, ready for the first batch.

    Raises `NlbenchError` if the stream does not give what the learner needs.
    """
    if backend not in get_args(Backend):
        raise UnknownNameError("backend", backend, get_args(Backend))
    _check_needs(plan)
    return build(plan.learner.learner, problem(plan, stream, backend))


def problem(plan: Plan, stream: Stream, backend: str) -> Problem:
    """Return what the learner of a plan is told before the stream starts."""
    steps = Schedule.of(stream, plan.batch, plan.learner.presents).steps_to_last_row
    return problem_of(stream, steps=steps, backend=backend, precision=plan.precision)


def _check_needs(plan: Plan) -> None:
    needed = needs(find(plan.learner.learner.kind))  # type: ignore[attr-defined]
    if "boundaries" in needed and not plan.stream.protocol.boundaries:
        raise NlbenchError(
            f"{plan.model} needs to be told when a task ends, and {plan.stream_name} does not tell.",
            "Let it with --set protocol.boundaries=true, or boundaries = true in its recipe. "
            "A learner that can do without says needs = () in its class.",
        )
    if "task" in needed and plan.stream.stream.scenario != "task-il":
        raise NlbenchError(
            f"{plan.model} needs to know at test whose a sample is, and "
            f"{plan.stream_name} ({plan.stream.stream.scenario}) does not tell.",
            'Let it with --set stream.scenario="task-il".',
        )


def prepare(plan: Plan, machine: Machine) -> tuple[Stream, Learner]:
    """Return the stream and the learner of a plan, ready for the first batch."""
    stream = build_stream(plan, machine)
    return stream, build_learner(plan, stream, machine.backend)


@contextmanager
def threads(plan: Plan, stream: Stream, machine: Machine, before: int | None = None) -> Iterator[int]:
    """Give the number of threads of a run, and run on them while this lasts: those asked for, or else `before`, with which a
    resumed run began, as other numbers round otherwise, or else its share of the machine. Torch's own products take one where a
    batch holds few numbers.
    """
    numbers = plan.batch * torch.Size(stream.input_shape).numel()
    own = single_torch_thread if numbers < SMALL else nullcontext
    with share(machine.threads or before) as granted, torch_threads(granted), own():
        yield granted
