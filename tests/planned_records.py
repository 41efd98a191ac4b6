"""Records of runs that were planned and never carried out."""

from __future__ import annotations

from pathlib import Path

from synthetic_records import make_record, matrix

from nlbench import plan
from nlbench.plan import DeclaredStream
from nlbench.records import Record

MADE_ANEW = {"seeds", "fingerprint", "stream_digest", "learner_digest"}


def recorded(
    tmp_path: Path, model: object, stream: str | DeclaredStream, overrides: dict[str, str], seeds=(0, 1), **more: str
) -> Record:
    planned = plan.resolve(model, stream, seeds=seeds, overrides=overrides, **more)
    facts = planned.describe() | {"files": dict(planned.files)}
    tasks = facts.pop("n_tasks")
    facts = {name: fact for name, fact in facts.items() if name not in MADE_ANEW}
    return make_record(tmp_path / "a.parquet", {seed: matrix(0.5, 0.9, tasks) for seed in seeds}, **facts)
