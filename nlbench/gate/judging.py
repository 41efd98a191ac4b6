"""A record against its reference: a verdict for each metric that has a margin.

With d = degradation (how much worse the record is, per seed where seeds are common) and its one-sided bounds at α = .05: `worse`
if the lower bound is above the margin, `better` if the upper bound is below 0, `ok` if it is below the margin, else `undecided`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from nlbench.comparison import learned, mean_chance, statistics
from nlbench.errors import NotFiniteError
from nlbench.gate.model import ROUNDING, Finding, Judgement, Verdict
from nlbench.gate.reference import default_reference, find_reference, margins_of
from nlbench.metrics import METRICS, OF_FORGETTING, WITH_CHANCE
from nlbench.places import place
from nlbench.records import Record, read_record
from nlbench.records.terms import measured_unequally
from nlbench.records.tools import diff

ALPHA: Final = 0.05
_NOTHING_LEARNED: Final[dict[Verdict, str]] = {
    "at-chance": "learning accuracy is at chance: what was not learned cannot be forgotten.",
    "not-above-chance": "learning accuracy is not shown above chance: what was not learned cannot be forgotten.",
}


def check(record: Record | Path | str, *, against: Path | str | None = None) -> Judgement:
    """Return the judgement of a record (or its path) against its reference in a folder or file.

    The reference is the record of the same stream digest, data, protocol version, learner name, passes, boundaries. Margins and
    `min_seeds` are its own. Default: `results/reference` here, else the one that came with the package. Raises RecordError for
    what is no record.
    """
    against = default_reference() if against is None else place(against)
    try:
        found = record if isinstance(record, Record) else read_record(record)
        reference, refusal = find_reference(found, against)
    except NotFiniteError as error:
        return not_finite(record.path if isinstance(record, Record) else record, error)
    if reference is None:
        return _judgement(found, None, (refusal,))
    margins, min_seeds = margins_of(reference)
    if not margins:
        reason = f"the reference declares no margin: add a [check] table to {reference.stream} and update the reference."
        return _judgement(found, reference, (Finding(None, "missing", reason),))
    findings = [_finding(found, reference, name, margin, min_seeds) for name, margin in margins.items()]
    for seed, why in found.footer.lost.items():
        findings.append(Finding(None, "not-finite", f"seed {seed} diverged and is not in the record: {why}."))
    unlearned = _unlearned(found)
    if unlearned is not None and unlearned[0] in _NOTHING_LEARNED and unlearned[0] not in {each.verdict for each in findings}:
        findings.append(Finding(None, *unlearned))
    return _judgement(found, reference, findings)


def not_finite(path: Path | str, error: NotFiniteError) -> Judgement:
    """Return the judgement of a record that could not be read, or not be judged, for a NaN or an infinity."""
    return Judgement(str(path), None, "", "", (Finding(None, "not-finite", str(error)),), (), {})


def _judgement(record: Record, reference: Record | None, findings: Sequence[Finding]) -> Judgement:
    return Judgement(
        record=str(record.path),
        reference=None if reference is None else str(reference.path),
        model=record.model,
        stream=record.stream,
        findings=tuple(findings),
        changed=() if reference is None else tuple(diff(record, reference)),
        accuracies={
            name: {"mean": float(np.mean(list(values.values()))), "chance": mean_chance(record, name)}
            for name in WITH_CHANCE
            if (values := record.measured(name))
        },
    )


def _finding(record: Record, reference: Record, name: str, margin: float, min_seeds: int) -> Finding:
    """Return the verdict on one metric."""
    new, old = record.metric(name), reference.metric(name)
    for side, values, of in (("the record", new, record), ("the reference", old, reference)):
        nulls = [seed for seed, value in values.items() if value is None]
        if nulls:
            return Finding(name, "missing", f"{name} is null in {side}: {of.reason(name)}.", margin=margin)
    if unequal := measured_unequally(METRICS[name], record.footer, reference.footer):
        return Finding(name, "mismatched", f"{name} is {unequal} (record / reference).", margin=margin)
    if len(new) < min_seeds or len(old) < min_seeds:
        side, count = ("the record", len(new)) if len(new) < min_seeds else ("the reference", len(old))
        return Finding(name, "too-few-seeds", f"{side} has {count} seeds, the reference asks for {min_seeds}.", margin=margin)
    if name in OF_FORGETTING and (refusal := _unlearned(record)):
        return Finding(name, refusal[0], refusal[1], margin=margin)
    return judged(name, margin, record.measured(name), reference.measured(name), min_seeds)


def _unlearned(record: Record) -> tuple[Verdict, str] | None:
    """Return why forgetting means nothing for this record, or None if it does mean something."""
    found = learned(record)
    if found is None:
        return "missing", "whether learning accuracy lies above chance is not known, and forgetting means nothing without that."
    return None if found == "above-chance" else (found, _NOTHING_LEARNED[found])


def judged(name: str, margin: float, new: Mapping[int, float], old: Mapping[int, float], min_seeds: int) -> Finding:
    """Return the verdict on one metric's values by seed, new against old: paired where at least `min_seeds` seeds are common.

    Seeds that only the new record has count too: where all its seeds together are worse by more than the margin, that unpaired
    comparison decides.
    """
    sign = 1.0 if METRICS[name].better == "lower" else -1.0
    common = sorted(new.keys() & old.keys())
    first, second = (sign * np.array(list(values.values())) for values in (new, old))
    interval = statistics.difference_interval(first, second, 1 - 2 * ALPHA)
    paired = len(common) >= min_seeds and not (new.keys() - old.keys() and interval.mean > margin)
    if paired:
        interval = statistics.mean_interval(np.array([sign * (new[seed] - old[seed]) for seed in common]), 1 - 2 * ALPHA)
    verdict = judge(interval, margin)
    distance = abs(margin - interval.mean)
    return Finding(
        metric=name,
        verdict=verdict,
        reason=_reason(verdict, interval, margin),
        record_mean=float(np.mean(list(new.values()))),
        reference_mean=float(np.mean(list(old.values()))),
        margin=margin,
        degradation=interval.mean,
        low=interval.low,
        high=interval.high,
        seeds=interval.n,
        paired=paired,
        seeds_to_decide=statistics.seeds_to_bound(interval.sd, distance, 1 - 2 * ALPHA) if verdict == "undecided" else None,
    )


def judge(degradation: statistics.Interval, margin: float) -> Verdict:
    """Return the verdict on a degradation with both its one-sided bounds; where nothing varies, its value decides."""
    if not np.isfinite(degradation[:3]).all():
        return "not-finite"
    if degradation.sd == 0:
        if degradation.mean > margin + ROUNDING:
            return "worse"
        return "better" if degradation.mean < -ROUNDING else "ok"
    if degradation.low > margin:
        return "worse"
    if degradation.high < 0:
        return "better"
    return "ok" if degradation.high < margin else "undecided"


def _reason(verdict: Verdict, interval: statistics.Interval, margin: float) -> str:
    bound = {"worse": f"at least {interval.low:+.4f}", "undecided": f"between {interval.low:+.4f} and {interval.high:+.4f}"}
    return f"degradation {interval.mean:+.4f}, {bound.get(verdict, f'at most {interval.high:+.4f}')}; margin {margin:g}."
