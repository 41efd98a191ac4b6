"""Records of `hope` whose old tasks end where a test wants them, for tests of the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synthetic_records import make_record, matrix, redated

from nlbench import gate
from nlbench.records import Record, rewrite_record

MARGINS = {"average_accuracy": 0.02, "forgetting": 0.02, "min_seeds": 5}


CLEAN = {"environment": {"commit": "0123abcd", "dirty": False}}


OLD = [0.80, 0.81, 0.79, 0.80, 0.805]  # accuracy of old tasks at the end, by seed


def record(path: Path, final: list[float], *, learned: float = 0.95, first_seed: int = 0, **facts: Any) -> Record:
    """A record of `hope` in which seed first_seed + s ends at final[s] on its old tasks."""
    matrices = {first_seed + s: matrix(value, learned) for s, value in enumerate(final)}
    facts = {"model": "hope", "fingerprint": "of-hope", "check": MARGINS, **CLEAN, **facts}
    return make_record(path, matrices, **facts)


def dated(path: Path, day: str, final: list[float], **facts: Any) -> Record:
    """A record of `hope` made on a day of June."""
    made = record(path, final, **facts)
    rewrite_record(redated(made, f"2026-06-{day}T00:00:00+00:00"), path)
    return made


def verdicts(judgement: gate.Judgement) -> dict[str | None, str]:
    return {finding.metric: finding.verdict for finding in judgement.findings}


def shifted(amount: float, wiggle: float = 0.001) -> list[float]:
    return [value + amount + wiggle * (-1) ** seed for seed, value in enumerate(OLD)]
