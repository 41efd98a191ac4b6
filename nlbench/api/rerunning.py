"""A record made again: some of its seeds are run from its own facts, and the numbers are compared."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Unpack

from nlbench.api import running
from nlbench.api.progress import Watcher
from nlbench.comparison.reproduction import Reproduction, reproduction
from nlbench.errors import NlbenchError, RecordError
from nlbench.plan import DeclaredStream, MachineOptions, Plan
from nlbench.records import Record, read_record
from nlbench.records.facts import Difference, stated
from nlbench.records.tools import diff

if TYPE_CHECKING:
    from nlbench.reporting import Rerun

_DECLARED: Final = {
    "protocol_version": "its protocol",
    "stream_spec": "its stream",
    "data": "its data",
    "terms": "its terms",
    "evaluation": "how it was measured",
    "learner_spec": "its learner's declaration",
    "precision": "its precision",
}
"""What decides the numbers beside the code."""
_NAME_IT: Final = (
    "Name what is not the package's own: --model ./file.py:Class or ./recipe.toml, --stream ./file.toml or a data file."
)


@dataclass(frozen=True)
class Rerunning:
    """A record beside what was run again of it.

    chance   probability that the seeds include one that was altered alone; of seeds that were named it is as if drawn
    drawn    whether they were drawn at random, so that nobody could know them before
    changed  facts that differ between the executions: code, machine, versions
    """

    record: Record
    command: str
    remark: str
    found: Reproduction
    drawn: bool
    same_run: bool
    changed: tuple[Difference, ...]

    def __repr__(self) -> str:
        found = self.found
        return f"<nlbench rerun of {self.record.path}: {found.sameness}, {found.values:,} values of {len(found.seeds)} seeds>"

    @property
    def chance(self) -> float:
        """Probability that one altered seed is among those that were run, were they drawn at random."""
        return len(self.found.seeds) / len(self.record.seeds)

    @property
    def exit_status(self) -> int:
        """0: the numbers hold. 1: they do not, and the code is that of the record. 2: they do not, and other code may be why."""
        if self.found.sameness != "different":
            return 0
        return 1 if self.same_run else 2


def command_of(record: Record | str | Path, *, model: object = None, stream: str | DeclaredStream | None = None) -> Rerun:
    """Return the command that makes a record again, and whether it gives the same numbers today. Runs nothing.

    `model` and `stream` give what is not the package's own, as `nlbench.run` takes it: nothing that only the record names is
    opened.
    """
    from nlbench.reporting import rerun

    return rerun(record if isinstance(record, Record) else read_record(record), model=model, stream=stream)


def rerun(
    record: Record | str | Path,
    *,
    seeds: str = "all",
    model: object = None,
    stream: str | DeclaredStream | None = None,
    progress: Watcher | None = None,
    started: Callable[[Plan], None] | None = None,
    **options: Unpack[MachineOptions],
) -> Rerunning:
    """Return the comparison of a record with its own run, carried out again into a folder that is thrown away.

    seeds    "all" of them; "3": so many, drawn at random; "0,1": those
    model    what runs instead of the record's name for it, such as `./file.py:Class`, or a class or object as it is; `stream`
             likewise, or what `stream_from_arrays` returned
    options  facts of the machine, as `run` takes them
    Raises NlbenchError where the record cannot be made again here: it names what is not given, or its declarations, data or terms
    are no longer what they were.
    """
    record = record if isinstance(record, Record) else read_record(record)
    chosen, drawn = _seeds(record, seeds)
    how = command_of(record, model=model, stream=stream)
    if how.plan is None:
        raise NlbenchError(
            f"{record.path}: cannot be run again. {how.remark}", "" if how.in_python else _name_it(record, model, stream)
        )
    plan = replace(how.plan, seeds=chosen)
    today, said = plan.describe(), record.footer
    if changed := [words for name, words in _DECLARED.items() if stated(today[name]) != stated(getattr(said, name))]:
        raise NlbenchError(f"{record.path}: {', '.join(changed)} cannot be had again with this version.", how.remark)
    if started is not None:
        started(plan)
    with TemporaryDirectory(prefix="nlbench-rerun-") as folder:
        again = running.carry_out(plan, Path(folder), running.options(**options), progress=progress).record
        found = reproduction(record, again, chosen)
        return Rerunning(
            record=record,
            command=how.command,
            remark=how.remark,
            found=found,
            drawn=drawn,
            same_run=plan.fingerprint == record.fingerprint,
            changed=tuple(one for one in diff(record, again) if one.field != "seeds"),
        )


def _name_it(record: Record, model: object, stream: object) -> str:
    """Return how to name what is not the package's own: as the run did where the record says so, and which file is not there."""
    lay = record.footer.files
    named = {option: lay[option] for option, given in (("model", model), ("stream", stream)) if given is None and option in lay}
    if not named:
        return _NAME_IT
    said = " ".join(f"--{option} {shlex.quote(place)}" for option, place in named.items())
    files = [place.rpartition(":")[0] if ".py:" in place else place for place in named.values()]
    gone = [file for file in files if not Path(file).exists()]
    lost = f" There is no {' and no '.join(gone)} in {Path.cwd()}: name it where it lies now." if gone else ""
    return f"Name what is not the package's own, as the run did: {said}.{lost}"


def _seeds(record: Record, wanted: str) -> tuple[tuple[int, ...], bool]:
    """Return the seeds to run, and whether they were drawn."""
    if wanted == "all":
        return record.seeds, True
    if wanted.isdecimal():
        count = int(wanted)
        if not 1 <= count <= len(record.seeds):
            raise NlbenchError(f"--seeds {wanted}: must be from 1 to {len(record.seeds)}, as many as the record has.")
        return tuple(sorted(secrets.SystemRandom().sample(record.seeds, count))), True
    chosen = running.parse_seeds(wanted)
    if missing := sorted(set(chosen) - set(record.seeds)):
        raise RecordError(f"{record.path} has no seed {missing[0]}.", f"It has {', '.join(map(str, record.seeds))}.")
    return chosen, False


__all__ = ["Rerunning", "command_of", "rerun"]
