from __future__ import annotations

import errno
import os
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_records import make_record, matrix, metadata, rows_of, tampered

from nlbench.comparison import compare
from nlbench.errors import NlbenchError, NotFiniteError, RecordError
from nlbench.metrics import METRICS, compute, versions
from nlbench.records import Row, extend_record, read_record, read_records, rewrite_record, write_record
from nlbench.records.schema import SCHEMA, SCHEMA_VERSION
from nlbench.records.store import replace_file
from nlbench.records.tools import prune

TWO = {0: matrix(0.6, 0.9), 3: matrix(0.7, 0.95)}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record = make_record(tmp_path / "r.parquet", TWO, chance=0.2, seconds=2.5, memory_bytes=640)
    assert (record.model, record.stream, record.scenario, record.seeds, record.n_tasks) == (
        "mlp",
        "split-digits",
        "class-il",
        (0, 3),
        5,
    )
    np.testing.assert_array_equal(record.accuracy(3), TWO[3])
    np.testing.assert_array_equal(record.chance, np.full((2, 5), 0.2))
    assert record.metric("forgetting") == pytest.approx({0: 0.3, 3: 0.25})
    assert record.bytes() == {"parameters": 640}
    assert record.seconds() == {"train": 2.5}
    assert record.footer.schema_version == SCHEMA_VERSION
    assert record.footer.created.endswith("+00:00")
    assert [run.run for run in record.runs] == ["run-1"]
    assert record.values("chance")[0] == Row(0, None, 1, None, "chance", 0.2, 100)
    assert record.table.schema.equals(SCHEMA)


def test_unmeasured_is_null_in_every_reader(tmp_path: Path) -> None:
    hidden = np.ma.array(
        TWO[0], mask=np.triu(np.ones((6, 5), bool))
    )  # rows i, columns j ≥ i: nothing of the future, nor the diagonal
    record = make_record(tmp_path / "r.parquet", {0: hidden})
    assert record.accuracy(0).mask.sum() == hidden.mask.sum()
    assert record.metric("forgetting") == {0: None}
    assert "did not measure" in record.reason("forgetting")
    assert record.metric("average_accuracy") == pytest.approx({0: compute(hidden)["average_accuracy"].value})
    query = f"SELECT count(*), count(value) FROM '{record.path}' WHERE metric = 'forgetting'"
    assert duckdb.sql(query).fetchall() == [(1, 0)]
    frame = record.to_pandas()
    assert frame[frame.metric == "forgetting"].value.isna().all()
    assert str(frame.seed.dtype) == "Int64"


def test_one_line_of_sql(tmp_path: Path) -> None:
    make_record(tmp_path / "a.parquet", TWO)
    make_record(tmp_path / "b.parquet", {0: matrix(0.9, 0.9)}, model="joint")
    query = f"SELECT model, stream, avg(value) FROM '{tmp_path}/*.parquet' WHERE metric = 'forgetting' GROUP BY model, stream"
    assert duckdb.sql(f"{query} ORDER BY model").fetchall() == [
        ("joint", "split-digits", pytest.approx(0)),
        ("mlp", "split-digits", pytest.approx(0.275)),
    ]


def test_the_first_row_group_is_enough_to_compare(tmp_path: Path) -> None:
    extra = [Row(0, 0, 1, 10 * b, "accuracy_within", 0.5, 50) for b in range(40)] + [
        Row(0, None, None, 5, "level.16.updates", 3.0)
    ]
    record = make_record(tmp_path / "r.parquet", TWO, extra=extra)
    file = pq.ParquetFile(record.path)
    names = set(file.read_row_group(0)["metric"].to_pylist())
    assert file.num_row_groups == 2
    assert names == {"accuracy", "chance", "bytes.parameters", "seconds.train"} | {
        m for m in METRICS if METRICS[m].needs != "references"
    }
    assert set(file.read_row_group(1)["metric"].to_pylist()) == {"accuracy_within", "level.16.updates"}
    assert len(record.values("accuracy_within")) == 40
    assert record.within(3) is None


def test_records_that_are_merged_know_what_all_of_them_know(tmp_path: Path) -> None:
    make_record(tmp_path / "a.parquet", {0: TWO[0]})
    other = make_record(tmp_path / "b" / "b.parquet", {3: TWO[3]}, run="run-2")
    older = {**versions(), "forgetting": 0}
    tampered(other.path, tmp_path / "b.parquet", metric="forgetting", value=0.99, metric_versions=older)
    (merged,) = read_records([tmp_path / "a.parquet", tmp_path / "b.parquet"])[0]
    assert merged.metric("forgetting") == pytest.approx({0: 0.3, 3: 0.25})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("metric", ["accuracy", "seconds.train", "accuracy_within"])
def test_what_is_not_finite_is_neither_written_nor_read(tmp_path: Path, metric: str, bad: float) -> None:
    extra = [Row(0, 0, 1, 10, "accuracy_within", 0.5, 50)]
    record = make_record(tmp_path / "r.parquet", TWO, extra=extra)
    written = [row._replace(value=bad) if row.metric == metric else row for row in [*rows_of(TWO), *extra]]
    if metric != "seconds.train":
        with pytest.raises(NotFiniteError, match=r"new\.parquet"):
            write_record(tmp_path / "new.parquet", rows=written, metadata=metadata(seeds=[0, 3], n_tasks=5))
        assert not (tmp_path / "new.parquet").exists()
    planted = tampered(record.path, tmp_path / "planted.parquet", metric=metric, value=bad)
    with pytest.raises(NotFiniteError, match=r"planted\.parquet"):
        read_record(planted)


def test_broken_rows_are_refused(tmp_path: Path) -> None:
    facts = metadata(seeds=[0, 3], n_tasks=5)
    good = rows_of(TWO)
    cases = {
        "two values for accuracy": [*good, good[0]],
        "outside 0..5": [*good, Row(0, 6, 1, None, "accuracy", 0.5)],
        "outside 1..5": [*good, Row(0, 5, 6, None, "accuracy", 0.5)],
        "outside \\[0, 1\\]": [*good, Row(0, 1, 1, 7, "accuracy_within", 1.5)],
        "names seed 9": [*good, Row(9, 5, 1, None, "accuracy", 0.5)],
        "does not have": [*good, Row(None, 5, 1, None, "accuracy", 0.5)],
    }
    for message, rows in cases.items():
        with pytest.raises(RecordError, match=message):
            write_record(tmp_path / "r.parquet", rows=rows, metadata=facts)
    with pytest.raises(RecordError, match="fingerprint: is required"):
        write_record(tmp_path / "r.parquet", rows=good, metadata={k: v for k, v in facts.items() if k != "fingerprint"})
    assert not list(tmp_path.iterdir())


def test_more_seeds_extend_the_record(tmp_path: Path) -> None:
    record = make_record(tmp_path / "r.parquet", TWO)
    new = {1: matrix(0.5, 0.9)}
    facts = metadata(seeds=[1], n_tasks=5, run="run-2", backend="numba")
    seconds = Row(None, None, None, None, "seconds.train", 4.0)
    extend_record(record, rows=[*rows_of(new), seconds], metadata=facts)
    both = read_record(record.path)
    assert both.seeds == (0, 1, 3)
    assert both.metric("forgetting") == pytest.approx({0: 0.3, 1: 0.4, 3: 0.25})
    assert [(run.run, run.seeds, run.backend) for run in both.runs] == [
        ("run-1", [0, 3], "reference"),
        ("run-2", [1], "numba"),
    ]
    assert both.seconds() == {"train": 5.0}
    frame = both.to_pandas()
    assert set(frame[frame.seed == 1].run) == {"run-2"}
    assert set(frame[frame.seed == 3].run) == {"run-1"}
    with pytest.raises(RecordError, match="seed 1 is already recorded"):
        extend_record(both, rows=rows_of(new), metadata=facts)
    with pytest.raises(RecordError, match="code, fingerprint differs"):
        extend_record(both, rows=[], metadata=metadata(seeds=[8], n_tasks=5, fingerprint="other"))
    with pytest.raises(RecordError, match="conflict differs"):
        extend_record(both, rows=[], metadata=metadata(seeds=[8], n_tasks=5, conflict=True))


def test_rewriting_changes_no_value(tmp_path: Path) -> None:
    record = make_record(tmp_path / "r.parquet", TWO, extra=[Row(0, 0, 1, 10, "accuracy_within", 0.5, 50)])
    again = read_record(rewrite_record(record, tmp_path / "again.parquet"))
    assert sorted(map(str, again.table.to_pylist())) == sorted(map(str, record.table.to_pylist()))
    assert again.footer == record.footer


def test_records_that_differ_in_seeds_only_are_merged(tmp_path: Path) -> None:
    make_record(tmp_path / "a.parquet", {0: TWO[0]})
    make_record(tmp_path / "b.parquet", {3: TWO[3]}, run="run-2")
    make_record(tmp_path / "c.parquet", {0: TWO[0]}, fingerprint="other", model="cms")
    records, notes = read_records([tmp_path])
    assert [(record.model, record.seeds) for record in records] == [("mlp", (0, 3)), ("cms", (0,))]
    assert records[0].metric("forgetting") == pytest.approx({0: 0.3, 3: 0.25})
    assert len(records[0].values("accuracy")) == 60
    assert not notes


def test_records_of_one_fingerprint_that_say_otherwise_are_not_merged(tmp_path: Path) -> None:
    make_record(tmp_path / "a.parquet", {0: TWO[0]})
    make_record(tmp_path / "b.parquet", {3: matrix(0.6, 0.9, n_tasks=4)}, run="run-2")
    with pytest.raises(RecordError, match=r"b\.parquet: is of the fingerprint of .*a\.parquet, but its n_tasks differs"):
        read_records([tmp_path])


def test_one_content_under_two_streams_names_is_two_records(tmp_path: Path) -> None:
    make_record(tmp_path / "a.parquet", TWO)
    make_record(tmp_path / "b.parquet", TWO, stream="my-digits")
    records, notes = read_records([tmp_path])
    assert [(record.stream, record.seeds) for record in records] == [("split-digits", (0, 3)), ("my-digits", (0, 3))]
    assert not notes
    (group,) = compare(records).groups
    assert [entry.label for entry in group.entries] == ["mlp"]
    assert group.notes[0] == "mlp on my-digits is the run of mlp on split-digits, of one fingerprint: counted once."
    assert prune(tmp_path) == {}


def test_two_values_for_one_seed_name_both_files(tmp_path: Path) -> None:
    make_record(tmp_path / "a.parquet", TWO)
    make_record(tmp_path / "b.parquet", {3: TWO[3]}, run="run-2")
    with pytest.raises(RecordError, match=r"two values for seed 3 .*a\.parquet and in .*b\.parquet"):
        read_records([tmp_path])
    records, _ = read_records(
        [tmp_path / "a.parquet", tmp_path / "a.parquet", tmp_path / "*a.parquet"]
    )  # one file named thrice is one file
    assert len(records) == 1


def test_references_are_left_out_unless_asked_for_or_alone(tmp_path: Path) -> None:
    make_record(tmp_path / "a.parquet", TWO)
    make_record(tmp_path / "reference" / "b.parquet", TWO, fingerprint="older")
    paths = sorted(tmp_path.iterdir())  # what a shell makes of results/*
    assert [record.path.name for record in read_records(paths)[0]] == ["a.parquet"]
    assert len(read_records(paths, with_reference=True)[0]) == 2
    assert len(read_records([tmp_path / "reference"])[0]) == 1


def test_what_is_not_a_record_is_one_line(tmp_path: Path) -> None:
    good = make_record(tmp_path / "good.parquet", TWO).path
    (tmp_path / "cut.parquet").write_bytes(good.read_bytes()[:-100])
    (tmp_path / "half.parquet").write_bytes(good.read_bytes()[: good.stat().st_size // 2] + good.read_bytes()[-8:])
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "notes.md").write_text("not a record")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign.parquet")
    (tmp_path / "folder").mkdir()
    tampered(good, tmp_path / "future.parquet", schema_version=SCHEMA_VERSION + 1)
    reasons = {
        "cut": "cut short",
        "half": "cut short",
        "empty": "cut short",
        "foreign": "not a record of nlbench",
        "future": f"schema version {SCHEMA_VERSION + 1}.* Install a newer nlbench",
        "missing": "does not exist",
    }
    for name, reason in reasons.items():
        with pytest.raises(RecordError, match=f"{name}.parquet.*{reason}") as caught:
            read_record(tmp_path / f"{name}.parquet")
        assert "\n" not in str(caught.value)
    with pytest.raises(RecordError, match="folder is a folder, not a record"):
        read_record(tmp_path / "folder")
    records, notes = read_records(sorted(tmp_path.iterdir()))
    assert [record.path for record in records] == [good]
    assert len(notes) == 6
    assert all(note.startswith("skipped ") for note in notes)


@pytest.mark.parametrize("nothing", ["empty", "absent.parquet"])
def test_nothing_left_is_an_error(tmp_path: Path, nothing: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match="no record found in"):
        read_records([tmp_path / nothing])


def test_a_disk_that_refuses_leaves_one_line_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = make_record(tmp_path / "r.parquet", TWO)
    before = old.path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match=r"cannot write .*r\.parquet: No space left on device"):
        rewrite_record(old, old.path)
    assert old.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["r.parquet"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot write") as caught:
        make_record(tmp_path / "file" / "r.parquet", TWO)
    assert isinstance(caught.value, NlbenchError)
    assert "--results" in caught.value.hint


def test_an_unknown_seed_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="has no seed 7"):
        make_record(tmp_path / "r.parquet", TWO).accuracy(7)


def test_what_others_left_under_the_name_of_a_part_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / f".a.parquet.{os.getpid()}.tmp").symlink_to(tmp_path / "precious")
    assert replace_file(tmp_path / "a.parquet", b"new").read_bytes() == b"new"
    assert (tmp_path / "precious").read_text() == "kept"
