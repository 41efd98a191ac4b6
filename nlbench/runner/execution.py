"""A plan -> stream, learner, protocol -> record. Rows come out as they are made; an interrupted run is resumed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import torch

from nlbench.errors import RecordError
from nlbench.metrics import METRICS
from nlbench.plan import Machine, Plan
from nlbench.protocol import Meeting, Schedule
from nlbench.records import Row, add_execution, environment
from nlbench.runner import trained
from nlbench.runner.checkpoint import Checkpoint
from nlbench.runner.keeping import Kept
from nlbench.runner.pace import Moment, Pace
from nlbench.runner.preparing import build_learner, prepare, threads
from nlbench.runner.stopping import Stopping, exits_told


@torch.no_grad()
def execute(
    plan: Plan,
    results: Path,
    machine: Machine,
    *,
    force: bool = False,
    tell: Callable[[str], None],
    progress: Callable[[Moment], None] | None = None,
) -> Generator[Row, None, tuple[int, ...]]:
    """Run the plan's seeds and yield every row, those of a resumed checkpoint first; when it ends, the record is written, and
    the seeds that were added to it are returned: all, but those that another run recorded meanwhile.

    Seeds that the record already holds must not be in the plan unless `force`, which makes the record anew from these seeds
    alone. An interrupted run leaves a checkpoint; the same plan resumes from it, and `force` does not. `tell` is given remarks
    for the user, `progress` moments of the run. Raises `InterruptedRunError` when a signal came and
    the run is saved.
    """
    checkpoint = Checkpoint.of(plan, results)
    if force:
        checkpoint.delete()
    plan.code.check_unchanged(plan.parts)
    stream, learner = prepare(plan, machine)
    meeting = Meeting(learner, stream, Schedule.of(stream, plan.batch, plan.learner.presents), METRICS)
    kept = Kept(meeting, checkpoint, machine.checkpoint_every, lambda: build_learner(plan, stream, machine.backend), tell)
    yield from kept.resume()
    pace = Pace(meeting, progress) if progress is not None else None
    with threads(plan, stream, machine, kept.threads) as kept.threads, Stopping() as stopping, exits_told():
        for rows in meeting.steps():
            kept.take(rows)
            if pace is not None:
                pace.step()
            if stopping.signal is not None:
                raise kept.interrupted(stopping.signal)
            kept.save_if_due()
            yield from rows
    facts = {**_ran_on(learner.backend, stream.device, results), "threads": kept.threads, "run": checkpoint.run}
    facts |= {"resumes": kept.resumes} if kept.resumes else {}
    facts |= {"not_kept": kept.not_kept} if kept.not_kept else {}
    added = add_execution(plan.record_path(results), rows=kept.rows, metadata={**plan.describe(), **facts}, replace=force)
    if machine.save is not None:
        trained.save(plan, meeting, machine.save)
    try:
        checkpoint.delete()
    except RecordError as error:
        tell(f"{error} The run is recorded.")
    return added


def _ran_on(backend: str, device: torch.device, results: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {"backend": backend, "device": device.type}
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return {**facts, "environment": environment.describe(results)}
