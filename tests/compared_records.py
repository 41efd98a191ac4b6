"""Records of learners that end where a test wants them, for tests of comparisons."""

from __future__ import annotations

from pathlib import Path

from synthetic_records import make_record, matrix

from nlbench.comparison import compare
from nlbench.comparison.model import Entry
from nlbench.records import Record

FIVE, TEN = range(5), range(10)


def learner(folder: Path, model: str, final: list[float], learned: float = 0.95, first: int = 0, **facts: object) -> Record:
    """A record whose seeds 0, 1, …, or from a first one on, end at the given accuracies of old tasks."""
    matrices = {seed: matrix(value, learned) for seed, value in enumerate(final, first)}
    name = f"{model}-{facts.get('fingerprint', '')}"
    return make_record(folder / f"{name}.parquet", matrices, **{"model": model, "fingerprint": f"of-{model}", **facts})


def spread(mean: float, n: int, width: float = 0.01) -> list[float]:
    return [mean + width * (seed % 3 - 1) for seed in range(n)]


def entry(records: list[Record], label: str, **options: object) -> Entry:
    (group,) = compare(records, **options).groups  # type: ignore[arg-type]
    return next(entry for entry in group.entries if entry.label == label)
