"""A plan -> stream, learner, protocol -> record. Saves a checkpoint at every task boundary and resumes from it; rows come out
as they are made.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch

from nlbench.plan import Machine, Plan
from nlbench.protocol import BOUNDARY, evaluate_stream
from nlbench.records import Row, add_execution, environment
from nlbench.runner.checkpoint import Checkpoint, text
from nlbench.runner.preparing import prepare, threads


@torch.no_grad()
def execute(plan: Plan, results: Path, machine: Machine, *, force: bool = False) -> Generator[Row, None, tuple[int, ...]]:
    """Run the plan's seeds and yield every row, those of a resumed checkpoint first; when it ends, the record is written, and
    the seeds that were added to it are returned: all, but those that another run recorded meanwhile.

    Seeds that the record already holds must not be in the plan unless `force`, which makes the record anew from these seeds
    alone. A killed run leaves a checkpoint at its last task boundary; the same plan resumes from it, and `force` does not.
    """
    checkpoint = Checkpoint.of(plan, results)
    checkpoint.check_writable()
    if force:
        checkpoint.delete()
    plan.code.check_unchanged(plan.parts)
    stream, learner = prepare(plan, machine)
    rows, completed, state = checkpoint.load()
    cumulative = plan.learner.presents == "cumulative"
    if state and not cumulative:
        learner.load_state_dict(state)
    yield from rows
    texts = [text(rows)] if rows else []
    fresh: list[Row] = []  # encoded at the next boundary: all rows at each boundary would take longer and longer
    with threads(plan, stream) as used:
        for row in evaluate_stream(learner, stream, batch=plan.batch, presents=plan.learner.presents, completed=completed):
            rows.append(row)
            fresh.append(row)
            if row.metric == BOUNDARY and row.after_task != plan.stream.stream.tasks:
                texts.append(text(fresh))
                fresh.clear()
                checkpoint.save(texts, {} if cumulative else learner.state_dict())
            yield row
    metadata = {**plan.describe(), **_ran_on(learner.backend, stream.device, results), "threads": used, "run": checkpoint.run}
    added = add_execution(plan.record_path(results), rows=rows, metadata=metadata, replace=force)
    checkpoint.delete()
    return added


def _ran_on(backend: str, device: torch.device, results: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {"backend": backend, "device": device.type}
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return {**facts, "environment": environment.describe(results)}
