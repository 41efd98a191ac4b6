"""Where a record's reference is, what it allows, and when a record may take its place."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Final

import numpy as np

from nlbench import catalog
from nlbench.comparison import learned
from nlbench.errors import RecordError
from nlbench.gate.model import ROUNDING, Finding
from nlbench.metrics import METRICS
from nlbench.places import place
from nlbench.records import Record, read_record, read_records, record_files, rewrite_record, terms
from nlbench.records.environment import changes
from nlbench.records.facts import Difference, differences
from nlbench.seeds import USUAL

_HERE: Final = Path("results") / "reference"
MUST_AGREE: Final = ("passes", "boundaries")
"""Terms without which a record is not judged; another batch is printed, and judged."""


def default_reference() -> Path:
    """Return the folder of references: `results/reference` here, else the one that came with the package."""
    return here() or catalog.REFERENCE


def here() -> Path | None:
    """Return the folder of references of the project that one is in, if it has one."""
    return _HERE if _HERE.is_dir() else None


def read_references(against: Path) -> tuple[list[Record], list[str]]:
    """Return the references in a folder or file, and a note for each file that is none; none where there is nothing."""
    if not against.exists() or (against.is_dir() and not record_files([against])):
        return [], []
    return read_records([against], with_reference=True)


def find_reference(record: Record, against: Path) -> tuple[Record | None, Finding]:
    """Return the record's reference, or None with the finding that says why there is none."""
    reason = f"no reference of {record.model} on {record.stream} in {against}. Make one: nlbench check {record.path} --update"
    missing = Finding(None, "missing", reason)
    references, notes = read_references(against)
    own = {path.resolve() for path in record.paths}
    if any(own & {path.resolve() for path in reference.paths} for reference in references):
        return None, Finding(None, "missing", f"{record.path} is itself in {against}: nothing can be judged against itself.")
    same = [reference for reference in references if reference.model == record.model]
    if not same:
        return None, Finding(None, "missing", " ".join([missing.reason, *notes]))
    matching = [other for other in same if not _mismatch(record, other)]
    if len(matching) > 1:
        matching = [other for other in matching if other.terms == record.terms] or matching
    if len(matching) > 1:
        hint = "Remove the one that is out of date."
        raise RecordError(f"two references of {record.model}: {matching[0].path} and {matching[1].path}.", hint)
    if not matching:
        nearest = min(same, key=lambda other: (other.stream != record.stream, _mismatch(record, other)))
        what = "; ".join(map(str, _named(record, nearest)))
        reason = f"{nearest.path} is of another stream, data or protocol, or of other terms: {what} (record / reference)."
        if record.footer.protocol_version > nearest.footer.protocol_version:
            reason += f" Make the reference anew: nlbench check {record.path} --update"
        return None, Finding(None, "mismatched", reason)
    matching[0].verify_all()
    return matching[0], missing


def margins_of(reference: Record) -> tuple[dict[str, float], int]:
    """Return the margin of each metric, in its own unit, and the least number of seeds, as the reference declares them: where it
    says no number, its own, and at least two.
    """
    check = reference.footer.check
    margins = check.margins
    least = max(2, len(reference.seeds)) if check.min_seeds is None else check.min_seeds
    if margins.keys() - METRICS.keys() or least < 2 or not all(0 < margin < inf for margin in margins.values()):
        raise RecordError(f"{reference.path}: its [check] table is wrong: {check.facts()}.")
    return margins, least


def _mismatch(record: Record, reference: Record) -> int:
    """Return how many of the facts differ that, with the learner's name, must agree."""
    ours, theirs = _matched(record), _matched(reference)
    return sum(ours[key] != theirs[key] for key in ours)


def _matched(record: Record) -> dict[str, Any]:
    said = record.footer
    must = {name: record.terms.get(name) for name in MUST_AGREE}
    return {"stream": record.stream_digest, "data": said.data, "protocol": said.protocol_version, "terms": must}


def _named(record: Record, reference: Record) -> list[Difference]:
    """Return what differs of the facts that must agree; a digest only where nothing behind it can be named."""
    facts = [
        {
            "stream": one.stream,
            "scenario": one.scenario,
            "stream_spec": terms.stream(one.footer),
            "terms": {name: one.terms.get(name) for name in MUST_AGREE},
            "data": one.footer.data,
            "protocol_version": one.footer.protocol_version,
        }
        for one in (record, reference)
    ]
    return differences(*facts) or [Difference("stream_digest", record.stream_digest, reference.stream_digest)]


@dataclass(frozen=True, slots=True)
class Update:
    """What `update` did: the reference that stands now, whether it is new, and why."""

    reference: str
    written: bool
    reason: str


def update(path: Path | str, *, against: Path | str | None = None) -> Update:
    """Make a record the reference if it may be one: from a clean tree, with enough seeds, and no worse than the present one.

    The best reference is kept, not the last: it is replaced only by one whose mean is no worse on any metric with a margin, and
    better on one (or declared with other margins), so that a series of small losses within the margin cannot creep in. Raises
    RecordError with what is in the way.
    """
    against = _HERE if against is None else place(against)
    record = read_record(path)
    refuse_unfit(record)
    present, _ = find_reference(record, against)
    if present is not None and (kept := _no_better(record, present)):
        return Update(str(present.path), False, kept)
    folder = against.parent if against.suffix == ".parquet" else against
    written = rewrite_record(record, folder / record.path.name)
    replaced = [] if present is None else [old for old in present.paths if old.resolve() != written.resolve()]
    for old in replaced:
        old.unlink()
    return Update(str(written), True, "there was no reference." if present is None else _improvement(record, present))


def refuse_unfit(record: Record) -> None:
    """Raise RecordError if the record may not become a reference, whatever reference there is."""
    margins, min_seeds = margins_of(record)[0], record.footer.check.min_seeds or USUAL
    place = f"{record.path} cannot become a reference:"
    if not margins:
        raise RecordError(
            f"{place} its stream declares no margins.",
            "Add a [check] table to the stream's file, or --set check.average_accuracy=0.02, and run it anew.",
        )
    if len(record.seeds) < min_seeds:
        count = len(record.seeds)
        hint = f"Run it with --seeds {min_seeds}, or say min_seeds in the [check] table of the stream's file."
        raise RecordError(f"{place} it has {count} seeds, a reference needs {min_seeds}.", hint)
    if learned(record) != "above-chance":
        raise RecordError(f"{place} its learning accuracy is not shown above chance.")
    nulls = [name for name in margins if None in record.metric(name).values()]
    if nulls:
        raise RecordError(f"{place} {nulls[0]} is null: {record.reason(nulls[0])}.")
    again = "run it anew with --force, and update again."
    if uncommitted := [run for run in record.runs if run.environment.uncommitted]:
        files = dict.fromkeys(name.rpartition(":")[0] for run in uncommitted for name in run.files.values() if ".py:" in name)
        which = f": {', '.join(files)}, or what is imported there" if files else ""
        raise RecordError(f"{place} not all of its code was committed when it was made{which}.", f"Commit it, {again}")
    if not all(run.environment.in_repository for run in record.runs):
        raise RecordError(
            f"{place} it was made in no repository: no commit says which code made it.", f"Put it into one, {again}"
        )
    if not all(run.environment.clean for run in record.runs):
        raise RecordError(f"{place} it was not made from a clean tree.", f"{_to_commit(record.path.parent)}, {again}")


def _to_commit(results: Path) -> str:
    """Return what to do about a tree that was not clean: the files that differ now, the first three by name."""
    changed = changes(results)
    others = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return f"Commit or ignore what differs now ({', '.join(changed[:3])}{others})" if changed else "Commit"


def _no_better(record: Record, present: Record) -> str:
    """Return why the present reference stays, or nothing if the record should replace it."""
    gained = record.footer.check != present.footer.check  # as good, with other margins
    lost: list[str] = []
    for name in margins_of(present)[0]:
        new, old = record.measured(name), present.measured(name)
        common = new.keys() & old.keys()
        choices = [(common, common)] if common else []
        if new.keys() - old.keys():  # a record is not better for the few seeds it shares
            choices.append((set(new), set(old)))
        changes_of = [np.mean([new[s] for s in ours]) - np.mean([old[s] for s in theirs]) for ours, theirs in choices]
        degradations = [float(change if METRICS[name].better == "lower" else -change) for change in changes_of]
        if max(degradations, default=0.0) > ROUNDING:
            lost.append(f"{name}, by {max(degradations):.4f}")
        gained = gained or min(degradations, default=0.0) < -ROUNDING
    if lost:
        return f"the present reference is better on {', and on '.join(lost)}."
    return "" if gained else "the present reference is as good."


def _improvement(record: Record, present: Record) -> str:
    """Return why a record took the place of the present reference."""
    changed = ", ".join(map(str, differences(present.footer.check.facts(), record.footer.check.facts())))
    if not changed:
        return "it is better than the one before."
    return f"it is no worse than the one before, and declares other margins (before / now): {changed}."
