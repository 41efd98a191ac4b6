from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from synthetic_records import forge, make_record, matrix, redated

from nlbench.errors import RecordError
from nlbench.metrics import METRICS, versions
from nlbench.records import Row, read_record, rewrite_record
from nlbench.records.schema import SCHEMA_VERSION
from nlbench.records.tools import diff, export, migrate, prune

OLDEST = Path(__file__).parent / "data" / "schema-1.parquet"


def test_the_oldest_schema_stays_readable() -> None:
    """A file as schema 1 wrote it, never to be regenerated: a reader that fails on it needs an upgrade step."""
    record = read_record(OLDEST)
    assert pq.ParquetFile(OLDEST).metadata.num_row_groups == 2
    assert (record.model, record.stream, record.scenario, record.seeds, record.n_tasks) == (
        "old",
        "split-two",
        "domain-il",
        (0, 7),
        2,
    )
    assert record.accuracy(0).tolist() == [[0.5, 0.5], [0.9, 0.25], [0.75, 1.0]]
    assert record.metric("forgetting") == pytest.approx({0: 0.15, 7: 0.5})
    assert record.metric("forward_transfer") == pytest.approx({0: -0.25, 7: 0.0})
    assert record.metric("min_accuracy") == pytest.approx({0: 0.5, 7: 0.5})
    assert record.metric("learning_curve_area") == pytest.approx({0: 0.53125, 7: 0.53125})
    assert record.bytes() == {"parameters": 4096}
    assert record.seconds() == {"train": 0.25}


def test_migrating_the_oldest_keeps_every_value(tmp_path: Path) -> None:
    copy = Path(shutil.copy(OLDEST, tmp_path / "old.parquet"))
    before = read_record(copy)
    migrate(copy)
    after = read_record(copy)
    added = {row["metric"] for row in after.table.to_pylist()} - {row["metric"] for row in before.table.to_pylist()}
    assert added <= set(METRICS)  # of the file's own accuracies
    kept = [row for row in after.table.to_pylist() if row["metric"] not in added]
    assert sorted(map(str, kept)) == sorted(map(str, before.table.to_pylist()))
    assert after.footer.schema_version == SCHEMA_VERSION
    assert not migrate(copy)


def test_migrating_recomputes_metrics_of_another_version(tmp_path: Path) -> None:
    record = make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9)})
    file = pq.ParquetFile(record.path)
    footer = {**json.loads(file.metadata.metadata[b"nlbench"]), "metric_versions": {**versions(), "forgetting": 0}}
    rows = [{**row, "value": 0.123} if row["metric"] == "forgetting" else row for row in file.read().to_pylist()]
    forge(record.path, [record.table.from_pylist(rows, schema=record.table.schema)], json.dumps(footer))
    assert migrate(record.path)
    (stored,) = (row["value"] for row in pq.read_table(record.path).to_pylist() if row["metric"] == "forgetting")
    assert stored == pytest.approx(0.3)


def test_diff_names_the_facts(tmp_path: Path) -> None:
    first = make_record(tmp_path / "a.parquet", {0: matrix(0.6, 0.9)})
    spec = {"learner": {"kind": "mlp", "width": 512, "depth": 2}}
    second = make_record(tmp_path / "b.parquet", {0: matrix(0.6, 0.9), 1: matrix(0.6, 0.9)}, learner_spec=spec, run="r2")
    assert [str(found) for found in diff(first, second)] == [
        "learner_spec.learner.depth: None / 2",
        "learner_spec.learner.width: 256 / 512",
        "seeds: [0] / [0, 1]",
    ]
    assert not diff(first, first)


def test_export(tmp_path: Path) -> None:
    extra = [Row(0, 0, 1, 10, "accuracy_within", 0.1 + 0.2, 50)]
    records = [
        make_record(tmp_path / "a.parquet", {0: matrix(0.6, 0.9)}, extra=extra),
        make_record(tmp_path / "b.parquet", {0: matrix(0.6, 0.9)}, model="cms, large", fingerprint="cms"),
    ]
    rows = [row for record in records for row in record.table.to_pylist()]
    assert [json.loads(line) for line in export(records, tmp_path / "all.jsonl").read_text().splitlines()] == rows
    assert pq.read_table(export(records, tmp_path / "out" / "all.parquet")).to_pylist() == rows
    with export(records, tmp_path / "all.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(rows)
    assert lines[-1]["model"] == "cms, large"
    for line, row in zip(lines, rows, strict=True):
        assert (float(line["value"]) if line["value"] else None) == row["value"]
        assert (int(line["seed"]) if line["seed"] else None) == row["seed"]
    with pytest.raises(RecordError, match="export knows"):
        export(records, tmp_path / "all.xlsx")


def test_prune_takes_what_newer_code_measured_again(tmp_path: Path) -> None:
    def make(name: str, created: str, **facts: object) -> Path:
        record = make_record(tmp_path / name, {0: matrix(0.6, 0.9)}, fingerprint=name, **facts)
        return rewrite_record(redated(record, created), record.path)

    old = make("old.parquet", "2026-01-01T00:00:00+00:00", source_digest="one")
    later = {**read_record(old).footer.learner_spec, "schedule": None}  # a key that the older one could not have
    make("new.parquet", "2026-02-01T00:00:00+00:00", source_digest="two", learner_spec=later)
    make("other.parquet", "2025-01-01T00:00:00+00:00", learner_spec={"learner": {"width": 1}})
    make("reference/old.parquet", "2025-01-01T00:00:00+00:00", source_digest="zero")
    left = tmp_path / ".r.parquet.123.tmp"
    left.write_text("half a record")
    assert prune(tmp_path) == {old: "superseded", left: "left over"}
    assert old.exists()
    assert list(prune(tmp_path, delete=True)) == [old, left]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.parquet", "other.parquet", "reference"]
    assert (tmp_path / "reference" / "old.parquet").exists()
    assert prune(tmp_path) == {}


def test_prune_names_checkpoints_also_where_nothing_else_is_left(tmp_path: Path) -> None:
    folder = tmp_path / ".checkpoints"
    folder.mkdir()
    (folder / "mlp.split-digits.0123.checkpoint").touch()
    (folder / ".mlp.split-digits.0123.checkpoint.77.tmp").touch()
    assert {path.name: what for path, what in prune(tmp_path, delete=True).items()} == {
        ".mlp.split-digits.0123.checkpoint.77.tmp": "left over",
        "mlp.split-digits.0123.checkpoint": "checkpoint",
    }
    assert prune(tmp_path) == {}
    assert not list(folder.iterdir())
    with pytest.raises(RecordError, match="is not a folder"):
        prune(tmp_path / "absent")
