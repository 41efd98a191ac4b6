"""A plan carried out: the seeds that its record lacks, by one process at a time. Imports torch only if a seed is missing."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import chdir, closing, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from nlbench import closure, sources
from nlbench.errors import NlbenchError, RecordError
from nlbench.plan import Machine, Plan
from nlbench.records import Row, read_record
from nlbench.records.storage import storage

if TYPE_CHECKING:
    from nlbench.runner import Moment

Listener = Callable[[Row], None]


class Completed(NamedTuple):
    """The seeds that were run now, and those that another process recorded meanwhile: there its values are kept."""

    added: tuple[int, ...]
    kept: tuple[int, ...]


def missing_seeds(plan: Plan, results: Path, force: bool = False) -> tuple[int, ...]:
    """Return the plan's seeds that its record does not hold yet; all of them with `force`.

    Raises `RecordError` where what lies in its place is no record of this run.
    """
    path = plan.record_path(results)
    if force or not storage(path).exists(path):
        return plan.seeds
    record = read_record(path)
    if (record.fingerprint, record.model, record.stream) != (plan.fingerprint, plan.model, plan.stream_name):
        other = f"{record.model} on {record.stream}, {record.fingerprint}"
        raise RecordError(f"{path}: is the record of another run: {other}.", "Move it away, or replace it with --force.")
    return tuple(seed for seed in plan.seeds if seed not in record.seeds)


def complete(
    plan: Plan,
    results: Path,
    machine: Machine,
    *,
    force: bool = False,
    diverged: Mapping[int, str] | None = None,
    listen: Listener | None = None,
    tell: Callable[[str], None],
    progress: Callable[[Moment], None] | None = None,
) -> Completed:
    """Run what seeds of a plan its record lacks, and return which; `listen` is given every row, `tell` remarks, `progress`
    moments of the run. Of two processes that run the same plan, the second waits for the first, and then finds its record.
    `diverged` are seeds that were left out of the plan for this reason, which the record says.
    """
    if machine.save is not None and machine.save.exists() and not machine.save.is_dir():
        raise NlbenchError(f"{machine.save}: is no folder to save the learner in.", "Name a folder with --save; it is made.")
    results = results.absolute()  # a learner may go elsewhere
    missing = missing_seeds(plan, results, force)
    added: tuple[int, ...] = ()
    try:
        while missing:
            due, source = plan.of_seeds(missing), plan.declared.source
            lock = due.lock_path(results)
            with chdir("."), _same_streams(), storage(lock).turn(lock, wait=machine.wait, tell=tell):
                missing = missing_seeds(plan, results, force)  # what the one before us recorded is not
                if missing != due.seeds:
                    continue
                with sources.read_ahead(source, machine.data) if source is not None else nullcontext():
                    half = running_half()
                    with half.shortages_told():
                        rows = half.execute(due, results, machine, force=force, diverged=diverged, tell=tell, progress=progress)
                        added = _heard(rows, listen)
                break
    finally:
        closure.forget()
    if machine.save is not None and set(added) != set(plan.seeds):
        tell("of seeds that were recorded already, no learner is saved now: force, or --force, runs them anew.")
    return Completed(added, tuple(seed for seed in missing if seed not in added))


@contextmanager
def _same_streams() -> Iterator[None]:
    """Have `sys` write at the end where it did before, wherever a learner let it."""
    before = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _heard(rows: Generator[Row, None, tuple[int, ...]], listen: Listener | None) -> tuple[int, ...]:
    """Return what the rows end with, after giving each to the listener."""
    with closing(rows):
        return _ended(rows, listen)


def _ended(rows: Generator[Row, None, tuple[int, ...]], listen: Listener | None) -> tuple[int, ...]:
    while True:
        try:
            row = next(rows)
        except StopIteration as end:
            return end.value
        if listen is not None:
            listen(row)


def running_half() -> ModuleType:
    """Return the running half, imported with waiting threads that soon sleep: spinning ones slow torch hundredfold beside a busy
    neighbour. The 2000 rounds, some 20 µs, last from one step of a small model to the next.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    fresh, collects = "torch" not in sys.modules, gc.isenabled()
    gc.disable()
    try:
        from nlbench import runner

        if fresh and "triton" not in sys.modules:  # whose profiler would complain, as Python ends, of what is left
            gc.freeze()  # modules are no garbage: looking through torch's again and again costs a second in all
    finally:
        if collects:
            gc.enable()
    return runner
