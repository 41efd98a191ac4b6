"""What the gate says, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from nlbench.records.facts import Difference

Unlearned = Literal["at-chance", "not-above-chance"]
Verdict = Literal["ok", "better", "worse", "undecided", "too-few-seeds", "missing", "mismatched", "not-finite"] | Unlearned
PASSED: Final = frozenset({"ok", "better"})
ROUNDING: Final = 1e-12  # differences of accuracies below this are rounding


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one metric, or on the whole record where `metric` is null, and the numbers it stands on."""

    metric: str | None
    verdict: Verdict
    reason: str  # one line
    record_mean: float | None = None
    reference_mean: float | None = None
    margin: float | None = None
    degradation: float | None = None
    low: float | None = None  # one-sided bounds of the degradation
    high: float | None = None
    seeds: int | None = None
    paired: bool | None = None
    seeds_to_decide: int | None = None  # of an undecided metric: as many would be enough if the differences stay as they are


@dataclass(frozen=True, slots=True)
class Judgement:
    """What `check` found. `exit_status`: 0 all ok or better, 1 something worse, 2 it cannot be judged."""

    record: str | None  # path; null where a reference stands alone
    reference: str | None  # path
    model: str
    stream: str
    findings: tuple[Finding, ...]
    changed: tuple[Difference, ...]  # facts that differ and are judged, not refused: recipe, code, backend, versions
    accuracies: Mapping[str, Mapping[str, float | None]]  # the record's, beside which forgetting is read: mean, and its chance
    older: tuple[str, ...] = ()  # paths of the learner's records that are not judged, because this one is newer

    @property
    def exit_status(self) -> int:
        """0, 1 or 2."""
        verdicts = {finding.verdict for finding in self.findings}
        if "worse" in verdicts:
            return 1
        return 0 if verdicts and verdicts <= PASSED else 2


def exit_status(judgements: Sequence[Judgement]) -> int:
    """Return one status for several records.

    1 if anything is worse, else 2 if anything cannot be judged or nothing was, else 0.
    """
    found = {judgement.exit_status for judgement in judgements}
    return 1 if 1 in found else 0 if found == {0} else 2
