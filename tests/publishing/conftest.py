from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pages import within_rows
from synthetic_records import make_record, matrix

from nlbench.publishing import Published, publish
from nlbench.records import Record, read_records

EVIL = '"><script>alert(1)</script>'


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Four learners on split-digits: one at chance, one measured twice, at two commits; an ill-meant name on another stream."""
    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(0)

    def make(name: str, final: float, learned: float, **facts: object) -> None:
        noise = 0.0 if final == learned else 0.01
        matrices = {seed: np.clip(matrix(final, learned) + rng.normal(0, noise, (6, 5)), 0, 1) for seed in range(6)}
        extra = [row for seed in range(6) for row in within_rows(seed, 5)]
        given = {"learner_spec": {"learner": {"kind": facts["model"]}}, "fingerprint": f"of-{name}", **facts}
        make_record(folder / f"{name}.parquet", matrices, extra=extra, **given)

    make("mlp", 0.1, 0.95, model="mlp", memory_bytes=10.0)
    make("joint", 0.9, 0.92, model="joint", memory_bytes=1000.0)
    make("chance", 0.5, 0.5, model="chance", memory_bytes=1.0)
    make("er-old", 0.4, 0.93, model="er", environment={"commit": "0ld" * 10, "dirty": False})
    make("er-new", 0.7, 0.93, model="er", environment={"commit": "4ew" * 10, "dirty": True})
    make("evil", 0.3, 0.9, model=EVIL, stream="../a b", stream_digest="other", memory_bytes=1.0)
    return read_records([folder])[0]


@pytest.fixture(scope="session")
def published(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Published:
    return publish(records, tmp_path_factory.mktemp("published") / "site")


@pytest.fixture(scope="session")
def site(published: Published) -> Path:
    return published.folder
