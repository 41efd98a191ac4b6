"""Files in an object store: put and read whole, changed by several at once, and nothing lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import duckdb
import fsspec
import numpy as np
import pytest
from object_store import store
from s3fs import S3FileSystem
from synthetic_records import accuracy_rows, matrix, metadata, whole_rows

from nlbench.errors import NlbenchError, RecordError
from nlbench.places import place
from nlbench.records import add_execution, read_record, read_records, record_files, write_record
from nlbench.records.storage import storage
from nlbench.records.store import replace_file


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with store() as url:
        yield url


@pytest.fixture(params=["here", "s3"])
def folder(request: pytest.FixtureRequest, bucket: str, tmp_path: Path) -> Path:
    """A folder of this machine, or one of the object store."""
    return tmp_path if request.param == "here" else place(f"{bucket}/{tmp_path.name}")


def execution(seed: int) -> dict:
    rows = [*accuracy_rows(seed, matrix(0.4 + seed / 100, 0.9)), *whole_rows(seed, 5)]
    return {"rows": rows, "metadata": metadata(seeds=[seed], n_tasks=5, run=f"run-{seed}")}


def test_what_is_put_is_read_as_a_whole_and_removed(folder):
    path, place_ = folder / "deep" / "file", storage(folder)
    with pytest.raises(FileNotFoundError):
        place_.open(path)
    place_.replace(path, b"one", memoryview(b"two"))
    with place_.open(path) as file:
        place_.replace(path, b"another")
        assert file.read() == b"onetwo"
    place_.delete(path)
    place_.delete(path)
    assert not path.exists()


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    """Whoever may write to /dev, such as root in a container, would have no /dev/stdout and no /dev/null any more."""
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    device = tmp_path / "device"
    device.symlink_to("/dev/null")
    for path, why in ((pipe, "is no file"), (device, "is no file"), (folder, "Is a directory")):
        with pytest.raises(RecordError, match=f"cannot write {path}: {why}"):
            replace_file(path, b"x")
    assert (pipe.is_fifo(), device.is_symlink(), folder.is_dir()) == (True, True, True)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_change_is_made_again_on_what_another_put_meanwhile(bucket):
    path = place(f"{bucket}/changed")
    seen: list[bytes | None] = []

    def change(found: bytes | None) -> bytes:
        if len(seen) < 2:
            storage(path).replace(path, f"of another, {len(seen)}".encode())
        seen.append(found)
        return (found or b"") + b"; ours"

    storage(path).update(path, change)
    assert seen == [None, b"of another, 0", b"of another, 1"]
    assert storage(path).open(path).read() == b"of another, 1; ours"
    storage(path).update(path, lambda found: None)
    assert storage(path).open(path).read() == b"of another, 1; ours"


def add(path: str, seeds: list[int]) -> None:
    for seed in seeds:
        add_execution(place(path), **execution(seed))


def test_two_writers_and_a_reader_lose_nothing_and_see_no_part(bucket):
    path = place(f"{bucket}/results/mlp.parquet")
    writers = [Thread(target=add, args=(str(path), list(range(first, 6, 2)))) for first in (0, 1)]
    for writer in writers:
        writer.start()
    held: list[tuple[int, ...]] = []
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            held.append(read_record(path).seeds)  # its checksum, keys and metrics are checked
    for writer in writers:
        writer.join()
    record = read_record(path)
    assert record.seeds == tuple(range(6))
    assert len(record.runs) == 6
    assert [len(seeds) for seeds in held] == sorted(len(seeds) for seeds in held)
    assert np.allclose(record.accuracies[:, -1, 0], [0.4 + seed / 100 for seed in range(6)])


def test_folders_and_patterns_of_a_store_name_their_records(bucket):
    folder = f"{bucket}/named"
    for name in ("a.parquet", "b.parquet", "notes.txt", "reference/c.parquet", "deeper/d.parquet"):
        replace_file(place(f"{folder}/{name}"), b"")
    assert [path.name for path in record_files([folder])] == ["a.parquet", "b.parquet"]
    assert [path.name for path in record_files([folder], references=True)] == ["a.parquet", "b.parquet", "c.parquet"]
    assert [str(path) for path in record_files([f"{folder}/b*"])] == [f"{folder}/b.parquet"]


def test_what_is_no_record_or_not_there_is_named(bucket):
    replace_file(place(f"{bucket}/none/a.parquet"), b"no record")
    with pytest.raises(RecordError, match=r"s3://.*/none/a\.parquet is not a Parquet file"):
        read_records([f"{bucket}/none"])
    with pytest.raises(RecordError, match=r"missing\.parquet does not exist"):
        read_record(f"{bucket}/missing.parquet")
    with pytest.raises(RecordError, match=r"cannot write s3://no-such-bucket/a\.parquet"):
        write_record("s3://no-such-bucket/a.parquet", **execution(0))


def test_a_store_without_conditional_writes_is_read_and_not_written():
    with fsspec.filesystem("memory").open("/there/a", "wb") as file:
        file.write(b"content")
    assert storage(place("memory://there/a")).open(place("memory://there/a")).read() == b"content"
    with pytest.raises(NlbenchError, match="memory:// has no conditional writes"):
        replace_file(place("memory://there/b"), b"")


def test_a_store_that_cannot_be_reached_is_one_line(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()
    with pytest.raises(OSError, match="Could not connect"):
        storage(place("s3://bucket/a")).exists(place("s3://bucket/a"))
    S3FileSystem.clear_instance_cache()


def test_duckdb_reads_records_in_a_store(bucket):
    write_record(f"{bucket}/duck/a.parquet", **execution(3))
    duckdb.register_filesystem(fsspec.filesystem("s3"))
    query = f"SELECT value FROM '{bucket}/duck/*.parquet' WHERE metric = 'average_accuracy'"
    assert duckdb.sql(query).fetchall() == [(pytest.approx((0.43 * 4 + 0.9) / 5),)]


def test_the_lock_of_this_machine_is_not_for_a_store(bucket):
    path = place(f"{bucket}/.checkpoints/run.lock")
    with storage(path).turn(path, wait=False, tell=pytest.fail), storage(path).turn(path, wait=False, tell=pytest.fail):
        assert not path.exists()
