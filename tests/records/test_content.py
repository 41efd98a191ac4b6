"""What a file asks for is looked at before it is given, a file is read once, and each refusal is one line."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from synthetic_records import accuracy_rows, forge, make_record, matrix, metadata, reforged, whole_rows

from nlbench import catalog
from nlbench.errors import RecordError
from nlbench.records import Row, extend_record, read_record, read_records
from nlbench.records.schema import SCHEMA

TWO = {0: matrix(0.6, 0.9), 3: matrix(0.7, 0.95)}
WITHIN = [Row(0, 0, 1, 10, "accuracy_within", 0.5, 50)]

ON_ONE_THREAD = """
import pathlib, sys
import pyarrow.compute
from nlbench.records import read_record

def threads():
    return sum("jemalloc" not in each.read_text() for each in pathlib.Path("/proc/self/task").glob("*/comm"))

before = threads()
assert read_record(sys.argv[1]).table.num_rows > 100
assert threads() == before, threads()
"""

READER = """
import pathlib, sys
from nlbench.records import read_record
for path in sys.argv[1:]:
    try:
        read_record(path)
    except Exception as error:
        print(error)
status = pathlib.Path("/proc/self/status")  # where the system has it: the most memory that was held, from this program's start
print(status.read_text() if status.exists() else "")
"""


def refused(path: Path) -> str:
    with pytest.raises(RecordError) as caught:
        read_record(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.message


def rows(count: int, **columns: Any) -> pa.Table:
    """Return that many rows of a record: cells of two tasks, or one cell over and over if they are more than there are."""
    row: dict[str, Any] = {"run": "run-1", "model": "mlp", "stream": "split-digits", "stream_digest": "digest-of-stream"}
    row |= {"scenario": "class-il"}
    row |= {"seed": 0, "after_task": 0, "on_task": 1, "samples_seen": None, "metric": "accuracy", "value": 0.5, "n": 2, **columns}
    found = pa.table(
        {name: pa.repeat(pa.scalar(row[name], SCHEMA.field(name).type), count) for name in SCHEMA.names}, schema=SCHEMA
    )
    if count > 6:
        return found
    cells = {"after_task": [i // 2 for i in range(count)], "on_task": [i % 2 + 1 for i in range(count)]}
    for name, values in cells.items():
        place = SCHEMA.get_field_index(name)
        found = found.set_column(place, SCHEMA.field(name), pa.array(values, SCHEMA.field(name).type))
    return found


def footer(tmp_path: Path, **changed: Any) -> str:
    said = make_record(tmp_path / "model-of-others.parquet", {0: matrix(0.6, 0.9)}).footer.facts()
    return json.dumps({**said, **changed})


TOO_MUCH: tuple[tuple[int, dict[str, Any], dict[str, Any], str], ...] = (
    (100_000, {}, {"n_tasks": 100_000}, "seeds × (n_tasks + 1) × n_tasks: must be at most"),
    (2**21 + 1, {}, {}, "rows: must be at most 2,097,152"),
    (10, {}, {"note": "x" * 2**21}, "its metadata in bytes: must be at most"),
    (6, {"model": "m" * 2_000_000}, {}, "column model: must have 1 to 200 characters"),
    (6, {"model": "m" * 2_000_000}, {"model": "m" * 1_000_000}, "model: must have at most 200 characters"),
    (1, {"metric": "x" * (2**28 + 1)}, {}, "its decompressed size in bytes: must be at most"),
)
"""Rows, and what they and the footer hold of it; and what is said of that."""


@pytest.mark.slow
def test_what_asks_for_too_much_is_refused(tmp_path: Path) -> None:
    """By one process, which holds less than a gigabyte at any time."""
    paths = [
        forge(tmp_path / f"large-{number}.parquet", [rows(count, **columns)], footer(tmp_path, **facts))
        for number, (count, columns, facts, _) in enumerate(TOO_MUCH)
    ]
    done = subprocess.run([sys.executable, "-c", READER, *paths], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    for line, path, (_, _, _, rule) in zip(said, paths, TOO_MUCH, strict=False):
        assert path.name in line
        assert rule in line
    peak = [int(line.split()[1]) for line in said if line.startswith("VmHWM")]
    assert all(kilobytes < 1_000_000 for kilobytes in peak)


def test_metadata_that_are_deep_or_hold_long_numbers(tmp_path: Path) -> None:
    table = rows(10)
    deep = footer(tmp_path).replace("{", '{"note": ' + "[" * 100 + '"["' + "]" * 100 + ", ", 1)
    assert "nested at most 32 deep" in refused(forge(tmp_path / "deep.parquet", [table], deep))
    long = footer(tmp_path).replace("{", '{"note": ' + "9" * 5000 + ", ", 1)
    assert "numbers must have at most" in refused(forge(tmp_path / "long.parquet", [table], long))
    brackets = footer(tmp_path, note='[{"' * 50 + "9" * 5000)
    assert "nested" not in refused(forge(tmp_path / "string.parquet", [table], brackets))


def planted(table: pa.Table, **changed: Any) -> pa.Table:
    """Return the rows with one of them changed."""
    found = table.to_pylist()
    found[min(3, len(found) - 1)] |= changed
    return pa.Table.from_pylist(found, schema=pa.schema([field.with_nullable(True) for field in SCHEMA]))


@pytest.mark.parametrize("column", ["run", "model", "stream", "stream_digest", "scenario", "metric"])
def test_a_null_where_there_may_be_none(tmp_path: Path, column: str) -> None:
    good = make_record(tmp_path / "good.parquet", TWO).path
    bad = reforged(good, tmp_path / "bad.parquet", change=lambda table: planted(table, **{column: None}))
    assert f"column {column}: must " in refused(bad)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"seed": None}, "names a seed or a task"),
        ({"after_task": None}, "names a seed or a task"),
        ({"seed": -1}, "seed is negative"),
        ({"n": -5}, "n is negative"),
        ({"n": 0}, "of no samples"),
        ({"value": 0.123, "n": None}, "of no samples"),
        ({"after_task": 0, "on_task": 1}, "two values for accuracy (seed "),
        ({"value": 0.123, "n": 7}, "no number of right samples out of its n"),
        ({"metric": "bytes.state", "value": -1.0, "on_task": None, "n": None}, r"bytes\.\* is negative"),
        ({"metric": "seconds.train", "value": -1.0, "on_task": None, "n": None}, r"seconds\.\* is negative"),
        ({"metric": "chance", "value": 0.0}, "chance is 0"),
        ({"metric": "a\x1b[31mb"}, "must have no control character"),
        ({"metric": "level.1.updates"}, "must not lie in row group 0"),
    ],
)
def test_a_row_that_cannot_be(tmp_path: Path, changed: dict[str, Any], rule: str) -> None:
    good = make_record(tmp_path / "good.parquet", TWO).path
    bad = reforged(good, tmp_path / "bad.parquet", change=lambda table: planted(table, **changed))
    assert rule.replace("\\", "") in refused(bad)
    _, notes = read_records([good, bad])
    assert [bad.name in note for note in notes] == [True]


def test_a_metric_of_no_version_is_not_among_the_metrics(tmp_path: Path) -> None:
    """Else nobody could say whether what is stored is what its accuracies give."""
    good = make_record(tmp_path / "good.parquet", TWO)
    said = good.footer.facts()
    left = {name: version for name, version in said["metric_versions"].items() if name != "forgetting"}
    bad = reforged(good.path, tmp_path / "bad.parquet", text=json.dumps({**said, "metric_versions": left}))
    assert "rows of forgetting must not lie in row group 0" in refused(bad)
    bad = reforged(good.path, tmp_path / "bad.parquet", text=json.dumps({**said, "metric_versions": 99}))
    assert "metric_versions: must be a table of a version for each metric, got 99" in refused(bad)


def test_what_belongs_into_the_first_row_group_lies_there(tmp_path: Path) -> None:
    good = make_record(tmp_path / "good.parquet", TWO, extra=WITHIN).path
    late = {"metric": "bytes.late", "value": 3.0, "n": None, "on_task": None, "samples_seen": None}
    bad = reforged(good, tmp_path / "bad.parquet", change=lambda table: planted(table, **(late if len(table) == 1 else {})))
    assert "rows of bytes.late must lie in row group 0" in refused(bad)


@pytest.mark.parametrize("text", ['{"model": "\\ud800"}', '{"n_tasks": NaN}', '{"learner_spec": "mlp"}', '{"note": 1e999}'])
def test_metadata_that_are_odd(tmp_path: Path, text: str) -> None:
    good = make_record(tmp_path / "good.parquet", TWO, extra=WITHIN).path
    whole = read_record(good).footer.facts()
    for key in json.loads(text):
        whole.pop(key, None)
    text = json.dumps(whole)[:-1] + ", " + text[1:]
    path = reforged(good, tmp_path / "odd.parquet", text=text)
    refused(path)
    records, _ = read_records([good, path])
    assert [record.path for record in records] == [good]


def test_a_reader_sees_the_old_record_or_the_new_one(tmp_path: Path) -> None:
    """While one thread rewrites the file, every read is whole: its rows are of its seeds."""
    path = make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9)}, extra=WITHIN).path
    small = path.read_bytes()
    extend_record(
        read_record(path),
        rows=[*accuracy_rows(5, matrix(0.5, 0.9)), *whole_rows(5, 5), Row(5, 0, 1, 10, "accuracy_within", 0.5, 50)],
        metadata=metadata(seeds=[5], n_tasks=5, run="run-2"),
    )
    large = path.read_bytes()
    done = threading.Event()

    def rewrite() -> None:
        while not done.is_set():
            for content in (small, large):
                (tmp_path / "part").write_bytes(content)
                (tmp_path / "part").replace(path)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(100):
            record = read_record(path)
            assert set(record.table["seed"].to_pylist()) - {None} == set(record.seeds)
    finally:
        done.set()
        writer.join()


def test_rows_are_those_of_the_file_that_was_opened(tmp_path: Path) -> None:
    path = make_record(tmp_path / "r.parquet", TWO, extra=WITHIN).path
    (record,) = read_records([path])[0]
    make_record(path, {7: matrix(0.1, 0.2)})
    assert set(record.table["seed"].to_pylist()) - {None} == {0, 3}
    assert np.array_equal(record.accuracy(3), TWO[3])


def test_what_is_wrong_with_rows_behind_the_first_row_group_names_the_file(tmp_path: Path) -> None:
    good = make_record(tmp_path / "good.parquet", TWO, extra=WITHIN).path
    bad = reforged(good, tmp_path / "bad.parquet", change=lambda table: planted(table, **({"n": -5} if len(table) == 1 else {})))
    assert "n is negative" in refused(bad)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed on Linux alone")
def test_a_record_is_read_on_the_calling_thread(tmp_path):
    """A thread of Arrow's that lets go of Python's bytes while the interpreter ends aborts the process."""
    path = sorted(catalog.REFERENCE.glob("*.parquet"))[0]
    done = subprocess.run([sys.executable, "-c", ON_ONE_THREAD, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
