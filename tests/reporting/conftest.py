from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pages import compared, within_rows
from synthetic_records import make_record, matrix

from nlbench.records import Record, read_records
from nlbench.reporting import report


@pytest.fixture(scope="session")
def records(tmp_path_factory) -> list[Record]:
    """Four learners on split-digits, one of them at chance and one without evaluations within tasks; one on another stream."""
    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(0)
    means = {"mlp": (0.1, 0.95), "cms": (0.4, 0.93), "joint": (0.9, 0.92), "chance": (0.5, 0.5)}
    for number, (model, (final, learned)) in enumerate(means.items()):
        noise = 0.0 if model == "chance" else 0.01
        matrices = {seed: np.clip(matrix(final, learned) + rng.normal(0, noise, (6, 5)), 0, 1) for seed in range(4)}
        extra = [] if model == "joint" else [row for seed in range(4) for row in within_rows(seed, 5)]
        facts = {"model": model, "fingerprint": f"fingerprint-{model}", "memory_bytes": 10.0**number, "seconds": 2.0**number}
        make_record(folder / f"{model}.parquet", matrices, extra=extra, **facts)
    other = {"stream": "permuted-digits", "stream_digest": "digest-of-other", "fingerprint": "fingerprint-other"}
    make_record(folder / "other.parquet", {0: matrix(0.5, 0.9, 3)}, **other)
    return read_records([folder])[0]


@pytest.fixture(scope="session")
def written(records, tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("report")
    return report(compared(records), folder / "report.html", folder=folder / "figures")


@pytest.fixture(scope="session")
def page(written) -> str:
    return written[0].read_text(encoding="utf-8")
