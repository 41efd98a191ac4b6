"""Every check in turn, and how a learner stands beside chance and plain fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from nlbench.comparison.statistics import Interval, mean_interval
from nlbench.conformance.checks import CHECKS, Check
from nlbench.conformance.material import SEEDS, TASKS, Candidate, trying
from nlbench.errors import NlbenchError, UnknownNameError

NAIVE: Final = "mlp"
"""The recipe of plain fine-tuning that a learner is put beside."""

BESIDE_CHANCE: Final = "beside chance"
BESIDE_NAIVE: Final = "beside naive"
REPORTED: Final = (BESIDE_CHANCE, BESIDE_NAIVE)
"""What is reported and binds nobody: a tiny stream shows little."""

Verdict = Literal["kept", "broken", "exempt", "not asked", "reported"]


@dataclass(frozen=True)
class Finding:
    """What became of one check: its rule, the verdict, what was seen, and where the rule is broken what to mend."""

    check: str
    rule: str
    verdict: Verdict
    seen: str = ""
    mend: str = ""


@dataclass(frozen=True)
class Examination:
    """What the checks found of one learner, under which terms."""

    model: str
    terms: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether no rule is broken."""
        return not self.broken

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The findings of the rules that are broken."""
        return tuple(each for each in self.findings if each.verdict == "broken")

    def __str__(self) -> str:
        lines = [f"{each.check}: {each.verdict}{f', {each.seen}' if each.seen else ''}" for each in self.findings]
        return "\n".join([f"{self.model} ({self.terms})", *lines])


def examine(candidate: Candidate) -> Examination:
    """Return what every check finds of a candidate."""
    exempt = dict(candidate.kind.exempt)
    known = [check.name for check in CHECKS] + list(REPORTED)
    for name in exempt:
        if name not in known:
            raise UnknownNameError(f"check that {candidate.kind.__name__} is exempt from", name, known)
    spec = candidate.plan.stream
    told = [*(["the task"] if spec.stream.scenario == "task-il" else []), *(["boundaries"] if spec.protocol.boundaries else [])]
    terms = f"{spec.stream.scenario}, told {' and '.join(told) or 'nothing'}"
    with trying(candidate):
        findings = list(_bound(candidate, exempt))
        if findings[0].verdict == "kept":
            findings += _reported(candidate, exempt)
    return Examination(candidate.plan.model, terms, tuple(findings))


def _bound(candidate: Candidate, exempt: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the findings of the checks that bind; where the first is broken, no other can be tried."""
    broken: set[str] = set()
    for check in CHECKS:
        if check.name in exempt:
            yield Finding(check.name, check.rule, "exempt", exempt[check.name])
            continue
        if check.name == "permutation" and not hasattr(candidate.fed.learner, "permute_inputs"):
            yield Finding(check.name, check.rule, "not asked", "it has no permute_inputs")
            continue
        if first := [name for name in check.rests_on if name in broken]:
            yield Finding(check.name, check.rule, "not asked", f"it rests on what is broken: {' and '.join(first)}")
            continue
        found = tried(check, candidate)
        broken |= {check.name} if found else set()
        yield Finding(check.name, check.rule, "broken" if found else "kept", found, check.mend if found else "")
        if found and check is CHECKS[0]:
            return


def tried(check: Check, candidate: Candidate) -> str:
    """Return what a check finds; an error that the learner's code raises, or that a run would raise of it, is one."""
    try:
        return check.broken(candidate)
    except NlbenchError as error:
        return str(error)


def _reported(candidate: Candidate, exempt: Mapping[str, str]) -> Iterator[Finding]:
    rules = dict(zip(REPORTED, ("better than one label for all", "not worse than plain fine-tuning"), strict=True))
    for name, why in exempt.items():
        if name in rules:
            yield Finding(name, rules.pop(name), "exempt", why)
    own = _average(candidate)
    if BESIDE_CHANCE in rules:
        chance = float(candidate.fed.stream.chance_of_all().mean())
        found = mean_interval(own, within=(0.0, 1.0))
        shown = "better" if found.low > chance else "not shown better"
        seen = f"{shown}: average accuracy {_said(found)}, chance {chance:.2f}"
        yield Finding(BESIDE_CHANCE, rules[BESIDE_CHANCE], "reported", seen)
    if BESIDE_NAIVE in rules:
        naive = Candidate.of(
            NAIVE, {"stream.scenario": candidate.plan.stream.stream.scenario}, candidate.machine, candidate.shape
        )
        found = mean_interval(own - _average(naive), within=(-1.0, 1.0))
        shown = "shown worse" if found.high < 0 else "not shown worse"
        yield Finding(BESIDE_NAIVE, rules[BESIDE_NAIVE], "reported", f"{shown}: {_said(found)} above {NAIVE}, seed by seed")


def _average(candidate: Candidate) -> NDArray[np.float64]:
    """Return the average accuracy of each seed, (S,), at the end."""
    return candidate.fed.right(candidate.answered, TASKS).mean(1).cpu().numpy()


def _said(found: Interval) -> str:
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f}, {len(SEEDS)} seeds)"
