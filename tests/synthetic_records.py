"""Records made of chosen accuracy matrices, for tests of the reading half."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nlbench.records import Record, Row, read_record, write_record
from nlbench.records.agreement import digests
from nlbench.records.footer import of_execution
from nlbench.records.schema import METADATA_KEY, SCHEMA, SCHEMA_VERSION
from nlbench.records.seal import EMPTY, KEY, sealed


def accuracy_rows(seed: int, matrix: np.ndarray) -> list[Row]:
    """Return one row for each entry; None where the matrix is masked."""
    matrix = np.ma.asarray(matrix)
    return [
        Row(seed, i, j + 1, None, "accuracy", None if matrix[i, j] is np.ma.masked else float(matrix[i, j]), 10**9)
        for i in range(matrix.shape[0])
        for j in range(matrix.shape[1])
    ]


def whole_rows(seed: int, n_tasks: int, *, chance: float | None = 0.5, memory_bytes: float = 1000.0) -> list[Row]:
    """Return the rows of a seed that stand beside its matrix; `chance` is that of a task, of the whole stream a fifth of it."""
    rows = [Row(seed, None, j, None, "chance", chance, 100) for j in range(1, n_tasks + 1)]
    rows.append(Row(seed, None, None, None, "chance", None if chance is None else chance / 5))
    return [*rows, Row(seed, n_tasks, None, None, "bytes.parameters", memory_bytes)]


def metadata(
    *, seeds: list[int], n_tasks: int, fingerprint: str | None = None, stream_digest: str | None = None, **overrides: Any
) -> dict[str, Any]:
    """Return the metadata of a run as the runner assembles it. Its digests are made of its declarations; what is given as one is
    a name, and two records of other names have other digests.
    """
    facts = {
        "run": "run-1",
        "model": "mlp",
        "stream": "split-digits",
        "scenario": "class-il",
        "protocol_version": 2,
        "stream_spec": {"stream": {"kind": "split"}},
        "learner_spec": {"learner": {"kind": "mlp", "width": 256}},
        "role": {"mlp": "naive", "joint": "joint"}.get(overrides.get("model", "mlp")),
        "data": {"digits": "sha256-of-digits"},
        "terms": {},
        "evaluation": {},
        "code": {} if fingerprint is None else {"learner.mine": fingerprint},
        "precision": "float32",
        "backend": "reference",
        "device": "cpu",
        "threads": 1,
        "seeds": seeds,
        "n_tasks": n_tasks,
        **overrides,
    }
    if stream_digest is not None:
        facts["stream_spec"] = {**facts["stream_spec"], "mine": stream_digest}
    return with_digests(facts)


def with_digests(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what a record says with the digests that its declarations give."""
    if "protocol" in facts["stream_spec"]:
        facts = {"source_digest": "digest-of-source", **facts}
    stamps = {"schema_version": SCHEMA_VERSION, "metric_versions": {}, "created": "2026-06-01T00:00:00+00:00"}
    unmade = dict.fromkeys(("stream_digest", "learner_digest", "fingerprint"), "not made yet")
    return {**facts, **digests(of_execution({**facts, **unmade, **stamps}, Path("a record")))}


def matrix(final: float, learned: float, n_tasks: int = 5, chance: float = 0.1) -> np.ndarray:
    """Return a matrix whose diagonal is `learned`, whose old tasks end at `final` and whose future columns are at `chance`.

    Then learning_accuracy = learned, forgetting = learned − final and average_accuracy = (final (T−1) + learned) / T.
    """
    R = np.full((n_tasks + 1, n_tasks), chance)
    for task in range(n_tasks):
        R[task + 1 :, task] = learned
    R[-1, :-1] = final
    return R


def windowed(R: np.ndarray) -> np.ma.MaskedArray:
    """Return what `window:1` measures of a matrix: each task right after it was learned, and all at the end."""
    i, j = np.indices(R.shape)
    return np.ma.masked_array(R, (i != j + 1) & (i < len(R) - 1))


def make_record(
    path: Path, matrices: dict[int, np.ndarray], *, chance: float | None = 0.5, extra: list[Row] | None = None, **facts: Any
) -> Record:
    """Write a record of the given matrices and read it back. `facts` override metadata; `memory_bytes` and `seconds` are rows."""
    n_tasks = next(iter(matrices.values())).shape[1]
    memory_bytes, seconds = facts.pop("memory_bytes", 1000.0), facts.pop("seconds", 1.0)
    rows = [row for seed, R in matrices.items() for row in accuracy_rows(seed, R)]
    rows += [row for seed in matrices for row in whole_rows(seed, n_tasks, chance=chance, memory_bytes=memory_bytes)]
    rows += [Row(None, None, None, None, "seconds.train", seconds), *(extra or [])]
    return read_record(write_record(path, rows=rows, metadata=metadata(seeds=sorted(matrices), n_tasks=n_tasks, **facts)))


def redated(record: Record, created: str) -> Record:
    """Return a record as if its newest execution had been made then."""
    runs = [*record.footer.runs[:-1], record.footer.runs[-1].model_copy(update={"created": created})]
    return replace(record, footer=record.footer.model_copy(update={"created": created, "runs": runs}))


def forge(target: Path, groups: Sequence[pa.Table], text: str | bytes, *, seal: bool = True) -> Path:
    """Write a record file of any rows and metadata, with a checksum that fits: what somebody can do who knows the format."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, groups[0].schema, store_schema=False) as writer:
        for group in groups:
            writer.write_table(group)
        writer.add_key_value_metadata({METADATA_KEY.decode(): text, **({KEY: EMPTY} if seal else {})})
    content = sink.getvalue().to_pybytes()
    target.write_bytes(sealed(content) if seal else content)
    return target


def reforged(path: Path, target: Path, *, text: str | None = None, change: Callable[[pa.Table], pa.Table] = lambda t: t) -> Path:
    """Copy a record with another footer, or with its rows changed, and a checksum that fits."""
    file = pq.ParquetFile(path)
    groups = [change(file.read_row_group(group)) for group in range(file.num_row_groups)]
    return forge(target, groups, file.metadata.metadata[METADATA_KEY] if text is None else text)


def rows_of(matrices: dict[int, np.ndarray]) -> list[Row]:
    """Return all rows of the given accuracy matrices, one a seed."""
    return [row for seed, R in matrices.items() for row in [*accuracy_rows(seed, R), *whole_rows(seed, R.shape[1])]]


def tampered(path: Path, target: Path, *, value: float | None = None, metric: str = "", **facts: object) -> Path:
    """Copy a record with one stored value or some metadata changed, keeping everything else."""
    footer = {**json.loads(pq.ParquetFile(path).metadata.metadata[b"nlbench"]), **facts}

    def planted(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        at = next((row for row in rows if row["metric"] == metric), None)
        if at is not None:
            at["value"] = value
        return pa.Table.from_pylist(rows, schema=SCHEMA)

    return reforged(path, target, text=json.dumps(footer), change=planted)
