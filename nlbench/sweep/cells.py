"""A cell: one plan and the seeds that its record lacks. What a worker does with them, and what became of the cell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from nlbench.code import Code
from nlbench.errors import NlbenchError, NotFiniteError, RecordError, remarks_told
from nlbench.launching import complete, missing_seeds
from nlbench.plan import Machine, Plan
from nlbench.records.storage import storage
from nlbench.records.store import update_file

OnDivergence = Literal["mask", "stop"]
"""Whether the other seeds of a cell go on where one diverges, or the cell ends, as a run does."""

State = Literal["recorded", "run", "diverged", "failed", "interrupted", "left"]

FOLDER: Final = ".diverged"


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    state      recorded: it was, with all its seeds; run: it is now; diverged: no seed is left, or one diverged and stopped it;
               failed: `error` says why; interrupted; left: the budget ended before it began
    seeds_run  that were run and recorded now
    diverged   why seeds are in no record, by seed; those of a `run` are named in its record
    notes      what was remarked on the way
    seconds    that its workers took
    """

    plan: Plan
    state: State
    seeds_run: tuple[int, ...] = ()
    diverged: Mapping[int, str] = field(default_factory=dict)
    error: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Cell:
    """A plan, the seeds that it lacks, and those that diverged before and are not run again."""

    plan: Plan
    missing: tuple[int, ...]
    diverged: Mapping[int, str]

    @classmethod
    def of(cls, plan: Plan, results: Path, *, force: bool = False) -> Cell:
        """Return the cell of a plan: what its record and earlier sweeps left to do; all of it with `force`."""
        known = {} if force else Divergences.of(plan, results).read()
        diverged = {seed: why for seed, why in known.items() if seed in plan.seeds}
        lacking = missing_seeds(plan, results, force)
        return cls(plan, tuple(seed for seed in lacking if seed not in diverged), diverged)

    def parts(self, count: int) -> list[tuple[int, ...]]:
        """Return the missing seeds in at most so many parts of nearly equal size."""
        return _dealt(self.missing, count)

    def begun(self, results: Path, counts: Iterable[int]) -> list[tuple[int, ...]]:
        """Return the missing seeds in the parts in which an interrupted sweep ran them, the rest of one that was in so many parts
        as one of `counts`; empty where no checkpoint is left. Cost: a look for each part.
        """
        for count in counts:
            rest = [tuple(seed for seed in part if seed in self.missing) for part in _dealt(self.plan.seeds, count)]
            for parts in dict.fromkeys([tuple(filter(None, rest)), tuple(self.parts(count))]):
                if any(_is_there(self.plan.of_seeds(part).checkpoint_path(results)) for part in parts):
                    return list(parts)
        return []


def _is_there(path: Path) -> bool:
    """Whether there is a file; where its place refuses, which the run itself will be told, there is none."""
    with suppress(OSError):
        return storage(path).exists(path)
    return False


def _dealt(seeds: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """Return seeds in at most so many parts of nearly equal size."""
    count = min(count, len(seeds))
    return [tuple(seeds[part * len(seeds) // count : (part + 1) * len(seeds) // count]) for part in range(count)]


class Made(NamedTuple):
    """What a worker made of a cell, or of a part of one."""

    seeds_run: tuple[int, ...]
    diverged: dict[int, str]
    notes: list[str]


@dataclass(frozen=True)
class CellWork:
    """Seeds of a cell, to be run and recorded: what an engine performs."""

    plan: Plan
    results: Path
    machine: Machine
    force: bool
    on_divergence: OnDivergence

    def perform(self) -> Made:
        """Run the plan's seeds and record them; with `mask`, those that diverge are left out, and the others run without them,
        with `stop` none of them is recorded.

        Raises `NotFiniteError` where it names no seed, `NlbenchError` where this worker's code is not that of whoever planned.
        """
        _same_code(self.plan)
        notes: list[str] = []
        diverged: dict[int, str] = {}
        plan = self.plan
        while plan.seeds:
            try:
                with remarks_told(notes.append):
                    done = complete(plan, self.results, self.machine, force=self.force, diverged=diverged, tell=notes.append)
            except NotFiniteError as error:
                if not error.diverged:
                    raise
                diverged |= error.diverged
                saved = plan.checkpoint_path(self.results)
                storage(saved).delete(saved)  # nothing goes on from there
                if self.on_divergence == "stop":
                    break
                plan = plan.of_seeds(tuple(seed for seed in plan.seeds if seed not in diverged))
            else:
                return Made(done.added, diverged, notes)
        return Made((), diverged, notes)


def _same_code(plan: Plan) -> None:
    """Refuse a plan that was made by other code: on another machine the package may be another."""
    here = Code.of(plan.parts).digests
    other = [part for part, digest in plan.code.digests.items() if here.get(part) != digest and "unidentified" not in digest]
    if other:
        raise NlbenchError(
            f"{plan.model} on {plan.stream_name}: the code of its {', '.join(other)} is another here than where it was planned.",
            "Install the same nlbench, and the same files of your own, on every machine.",
        )


@dataclass(frozen=True)
class Divergences:
    """The file that says which seeds of a plan diverged, so that they are not run again: what a record of no seed would say."""

    path: Path

    @classmethod
    def of(cls, plan: Plan, results: Path) -> Divergences:
        """Return the place of a plan's."""
        return cls(results / FOLDER / f"{plan.record_path(results).stem}.json")

    def read(self) -> dict[int, str]:
        """Return why seeds diverged, by seed. Raises `RecordError` for a file that does not say so."""
        try:
            with storage(self.path).open(self.path) as file:
                return self._said(file.read())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise RecordError(f"{self.path}: cannot be read: {error.strerror}.") from None

    def add(self, diverged: Mapping[int, str]) -> None:
        """Add seeds to the file, whoever else does so at once."""

        def change(found: bytes | None) -> bytes:
            said = {**(self._said(found) if found else {}), **diverged}
            return json.dumps({str(seed): said[seed] for seed in sorted(said)}, indent=1).encode()

        if diverged:
            update_file(self.path, change)

    def clear(self) -> None:
        """Forget them all."""
        storage(self.path).delete(self.path)

    def _said(self, content: bytes) -> dict[int, str]:
        try:
            said: Any = json.loads(content)
            return {int(seed): str(why) for seed, why in said.items()}
        except (ValueError, AttributeError):
            raise RecordError(f"{self.path}: does not say which seeds diverged.", "Remove it: they run again.") from None
