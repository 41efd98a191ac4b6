"""A plan -> stream, learner, protocol -> record. Rows come out as they are made; an interrupted run is resumed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
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
from nlbench.stopping import Stopping, exits_told
from nlbench.streams.stream import Stream


@torch.no_grad()
def execute(
    plan: Plan,
    results: Path,
    machine: Machine,
    *,
    force: bool = False,
    diverged: Mapping[int, str] | None = None,
    tell: Callable[[str], None],
    progress: Callable[[Moment], None] | None = None,
) -> Generator[Row, None, tuple[int, ...]]:
    """Run the plan's seeds and yield every row, those of a resumed checkpoint first; when it ends, the record is written, and
    the seeds that were added to it are returned: all, but those that another run recorded meanwhile.

    Seeds that the record already holds must not be in the plan unless `force`, which makes the record anew from these seeds
    alone; those that were left out because they diverged, and why, are `diverged`, which the record says. An interrupted run
    leaves a checkpoint; the same plan resumes from it, and `force` does not. `tell` is given remarks for the user, `progress`
    moments of the run. Raises `InterruptedRunError` when a signal came and the run is saved.
    """
    checkpoint = Checkpoint.of(plan, results)
    if force:
        checkpoint.delete()
    plan.code.check_unchanged(plan.parts)
    stream, learner = prepare(plan, machine)
    meeting = Meeting(learner, stream, Schedule.of(stream, plan.batch, plan.learner.presents), METRICS)
    kept = Kept(meeting, checkpoint, machine, lambda: build_learner(plan, stream, machine.backend), tell)
    if unidentified := plan.code.unidentified:  # no other run is this one: none could find what it kept
        kept.refrain(" and ".join(unidentified))
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
    facts = {**_ran_on(plan, learner.backend, stream.device, results), "threads": kept.threads, "run": checkpoint.run}
    facts |= _class_orders(stream)
    facts |= {"files": dict(plan.files)} if plan.files else {}
    facts |= {"resumes": kept.resumes} if kept.resumes else {}
    facts |= {"not_kept": kept.not_kept} if kept.not_kept else {}
    facts |= {"diverged": [{"seed": seed, "why": why} for seed, why in diverged.items()]} if diverged else {}
    added = add_execution(plan.record_path(results), rows=kept.rows, metadata={**plan.describe(), **facts}, replace=force)
    if machine.save is not None:
        trained.save(plan, meeting, machine.save)
    try:
        checkpoint.delete()
    except RecordError as error:
        tell(f"{error} The run is recorded.")
    return added


def _class_orders(stream: Stream) -> dict[str, Any]:
    """Return in which order classes were dealt out, where that is not as the data set numbers them."""
    orders = stream.class_orders
    if orders is None or (len(orders) == 1 and (np.diff(orders[0]) == 1).all()):
        return {}
    names = ["all"] if len(orders) == 1 else map(str, stream.seeds)
    return {"class_orders": dict(zip(names, orders.tolist(), strict=True))}


def _ran_on(plan: Plan, backend: str, device: torch.device, results: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {"backend": backend, "device": device.type}
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    own = [path for reached in plan.code.outside.values() for path in reached.files.values()]
    return {**facts, "environment": environment.describe(results, own)}
