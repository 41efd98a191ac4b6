"""Plans in, outcomes out: what is recorded is passed by, the rest is run by an engine within a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Final

from nlbench.errors import InterruptedRunError, RecordError
from nlbench.plan import Machine, Plan
from nlbench.records import note_diverged
from nlbench.stopping import Stopping
from nlbench.sweep.cells import Cell, CellWork, Divergences, Made, OnDivergence, Outcome, State
from nlbench.sweep.engines import Ended, Engine, drive

CHECKPOINT_GAP: Final = 1.0
"""Seconds between two checkpoints of a cell at least: what they save is as quickly learned again, and many cells are short."""


@dataclass(frozen=True)
class Budget:
    """Seconds after which no more cells begin, and how many begin at most. None: as long, as many as there are."""

    seconds: float | None = None
    cells: int | None = None


@dataclass(frozen=True)
class Policy:
    """How cells are run: all anew with `force`; what happens where a seed diverges."""

    force: bool = False
    on_divergence: OnDivergence = "mask"


UNBOUNDED: Final = Budget()
USUAL: Final = Policy()

Began = Callable[[Plan], object]


def nobody(plan: Plan) -> None:
    """Be told of a plan whose cell begins, and do nothing."""


def sweep(
    plans: Iterable[Plan],
    results: Path,
    engine: Engine,
    machine: Machine,
    *,
    policy: Policy = USUAL,
    budget: Budget = UNBOUNDED,
    began: Began = nobody,
) -> Iterator[Outcome]:
    """Yield one outcome for each plan, of those that are the same run only for the first: first of what is recorded, then of the
    others, as they end; `began` is told the plan of each that begins.

    A cell that fails or diverges, or whose record is damaged, loses nothing of the others. Each is one run with all its missing
    seeds; where there are more workers than cells, a cell's seeds are dealt out to several. Raises `InterruptedRunError` when a
    signal came and what was running is saved: the same call goes on. Cost beside the runs: some milliseconds a cell.
    """
    clock, due, count = monotonic(), [], 0
    with Stopping() as stopping, engine:
        for found in _found(plans, results, policy):
            count += 1
            if isinstance(found, Outcome):
                yield found
            else:
                engine.start()
                due.append(found)
            if stopping.signal is not None:
                break
        begun = _Begun(due[: budget.cells], engine.slots, began)
        machine = replace(machine, threads=engine.threads or machine.threads, checkpoint_gap=CHECKPOINT_GAP)
        until = None if budget.seconds is None else clock + budget.seconds
        works = begun.works(results, machine, policy, until)
        for work, end in drive(engine, works, stopping):
            outcome = begun.ended(work, end, results)
            if outcome is not None:
                yield outcome
        if stopping.signal is None and not begun.interrupted:
            yield from (Outcome(cell.plan, "left", diverged=cell.diverged) for cell in due if cell not in begun)
            return
    done = count - len(due) + begun.finished
    raise InterruptedRunError(
        f"interrupted after {done} of {count} cells.", "What is done is kept; the same command goes on.", stopping.signal or 2
    )


def _found(plans: Iterable[Plan], results: Path, policy: Policy) -> Iterator[Cell | Outcome]:
    """Yield the cell of each plan that is to run, and what became of each that is not."""
    seen = set()
    for plan in plans:
        path = plan.record_path(results)
        if path in seen:
            continue
        seen.add(path)
        try:
            cell = Cell.of(plan, results, force=policy.force)
        except RecordError as error:
            yield Outcome(plan, "failed", error=str(error))
        else:
            state = _settled(cell, policy)
            yield cell if state is None else Outcome(plan, state, diverged=cell.diverged)


def _settled(cell: Cell, policy: Policy) -> State | None:
    """Return what a cell is without being run, or None."""
    if cell.diverged and (policy.on_divergence == "stop" or set(cell.diverged) == set(cell.plan.seeds)):
        return "diverged"
    return None if cell.missing else "recorded"


@dataclass
class _Progress:
    """A cell of which some parts have begun."""

    cell: Cell
    parts: int
    ends: list[Ended] = field(default_factory=list)


class _Begun:
    """The cells that have begun, and how their parts ended."""

    def __init__(self, cells: Sequence[Cell], slots: int, began: Began) -> None:
        self._cells, self._slots = cells, slots
        self._began = began
        self._by_plan: dict[str, _Progress] = {}
        self.interrupted = False
        self.finished = 0

    def __contains__(self, cell: Cell) -> bool:
        return self._key(cell.plan) in self._by_plan

    def works(self, results: Path, machine: Machine, policy: Policy, until: float | None) -> Iterator[CellWork]:
        """Yield the work of every cell, until no more may begin."""
        for cell in self._cells:
            if until is not None and monotonic() >= until:
                return
            if policy.force:
                Divergences.of(cell.plan, results).clear()
            whole = policy.force or policy.on_divergence == "stop"
            parts = cell.parts(1) if whole else self._parts(cell, results)
            self._by_plan[self._key(cell.plan)] = _Progress(cell, len(parts))
            self._began(cell.plan)
            for seeds in parts:
                yield CellWork(cell.plan.of_seeds(seeds), results, machine, policy.force, policy.on_divergence)

    def _parts(self, cell: Cell, results: Path) -> list[tuple[int, ...]]:
        """Return the parts in which a cell's seeds are run: those that have checkpoints; otherwise all in one, unless workers
        would have nothing to do.
        """
        counts = dict.fromkeys(max(1, self._slots // cells) for cells in range(1, self._slots + 1))  # whatever was due then
        return cell.begun(results, counts) or cell.parts(max(1, self._slots // len(self._cells)))

    def ended(self, work: CellWork, end: Ended, results: Path) -> Outcome | None:
        """Take how a piece of work ended; return what became of its cell when that was the last one."""
        progress = self._by_plan[self._key(work.plan)]
        self.interrupted |= end.how == "interrupted"
        try:
            Divergences.of(work.plan, results).add(_diverged(end))
        except RecordError as error:
            end = replace(end, how="failed", error=str(error))
        progress.ends.append(end)
        if len(progress.ends) < progress.parts:
            return None
        outcome = _outcome(progress)
        self.finished += outcome.state != "interrupted"
        try:
            note_diverged(work.plan.record_path(results), outcome.diverged)
        except RecordError as error:
            return replace(outcome, state="failed", error=str(error))
        return outcome

    @staticmethod
    def _key(plan: Plan) -> str:
        return f"{plan.model}.{plan.stream_name}.{plan.fingerprint}"


def _diverged(end: Ended) -> Mapping[int, str]:
    return end.value.diverged if end.how == "done" else {}


def _outcome(progress: _Progress) -> Outcome:
    """Return what became of a cell whose parts have all ended."""
    made: list[Made] = [end.value for end in progress.ends if end.how == "done"]
    errors = [end.error for end in progress.ends if end.how in ("failed", "lost")]
    run = tuple(sorted(seed for one in made for seed in one.seeds_run))
    diverged = {**progress.cell.diverged, **{seed: why for one in made for seed, why in one.diverged.items()}}
    state: State = "run"
    if errors:
        state = "failed"
    elif any(end.how == "interrupted" for end in progress.ends):
        state = "interrupted"
    elif not run:
        state = "diverged" if diverged else "recorded"  # by another process, meanwhile
    notes = tuple(note for one in made for note in one.notes)
    seconds = sum(end.seconds for end in progress.ends)
    return Outcome(progress.cell.plan, state, run, diverged, "; ".join(dict.fromkeys(errors)), notes, seconds)
