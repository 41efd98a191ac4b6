"""What a comparison says, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from nlbench.comparison.chance import Learned
from nlbench.records import Record

Verdict = Literal["better", "worse", "undecided", "too few seeds to tell"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric of one learner over its seeds: mean and 95 % Student-t interval, cut at the metric's range. Null bounds: one seed;
    null mean: `reason`. `chance`: what constant answers reach, null where that is not recorded or means nothing.
    """

    mean: float | None
    low: float | None
    high: float | None
    sd: float | None
    n: int
    reason: str = ""
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class Paired:
    """A learner minus the baseline on their common seeds.

    `p` is of the two-sided sign-flip test (exact up to 16 seeds), `p_holm` the same corrected over the group's family, `p_t` of
    the paired t test, `effect` the mean difference in its own standard deviations (Cohen's d_z; null where nothing varies).
    `better` and `worse` need p_holm ≤ .05. `too few seeds to tell`: no difference whatever could give that at this number of
    seeds. `seeds_to_tell` is the number at which a difference such as this one would be found with probability .8; null: more
    than 1,000, or one seed, which has no spread to tell it from.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    p: float
    p_holm: float
    p_t: float | None
    effect: float | None
    verdict: Verdict
    seeds_to_tell: int | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Mean ranks (1 is best) over blocks. Mean ranks further apart than the critical difference differ (Nemenyi, α = .05)."""

    ranks: Mapping[str, float]
    p: float  # Friedman: do they rank alike
    critical_difference: float
    blocks: int
    of: Literal["seeds", "streams"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One learner of a group."""

    label: str  # recipe name + the fields that differ from its namesakes
    record: Record
    estimates: Mapping[str, Estimate]
    learned: Learned | None  # whether learning accuracy is above chance; null: cannot be told
    bytes: float | None  # after the last task, all kinds
    seconds: float | None  # of training, of all seeds together, divided by their number
    paired: Mapping[str, Paired]  # by metric; empty for the baseline
    on_front: Mapping[str, bool]  # "bytes", "seconds", "flops": no other learner is as accurate at no more cost
    flops: float | None = None  # of training, of a seed, where they were counted


@dataclass(frozen=True, slots=True)
class Group:
    """The learners of one stream: same declaration, data and protocol."""

    stream: str
    scenario: str
    stream_digest: str
    protocol_version: int
    n_tasks: int
    entries: tuple[Entry, ...]
    baseline: str | None
    metrics: tuple[str, ...]  # tested
    columns: tuple[str, ...]  # shown
    family: int  # tests that the Holm correction covers
    rankings: Mapping[str, Ranking]
    notes: tuple[str, ...]


class Table(NamedTuple):
    """A title, a header and rows of finished text, and what stands below them, apart."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    foot: tuple[tuple[str, ...], ...] = ()
