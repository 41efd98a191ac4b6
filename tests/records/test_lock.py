from __future__ import annotations

import errno
import json
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest

from nlbench.errors import RecordError, RunningError
from nlbench.records import lock
from nlbench.records.lock import locked, turn


def count_up(path: Path, times: int) -> None:
    """Read, wait and rewrite: without the lock, most of the counts are lost."""
    for _ in range(times):
        with locked(path):
            number = int(path.read_text()) if path.exists() else 0
            time.sleep(0.002)
            path.write_text(str(number + 1))


def test_processes_and_threads_take_turns_and_leave_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "count"
    processes = [multiprocessing.get_context("spawn").Process(target=count_up, args=(path, 20)) for _ in range(2)]
    threads = [threading.Thread(target=count_up, args=(path, 20)) for _ in range(2)]
    for each in (*processes, *threads):
        each.start()
    for each in (*processes, *threads):
        each.join()
    assert path.read_text() == "80"
    assert list(path.parent.iterdir()) == [path]


def test_a_lock_that_a_killed_holder_left_is_free(tmp_path: Path) -> None:
    (tmp_path / ".count.lock").touch()
    count_up(tmp_path / "count", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"cannot write .*count: File exists"), locked(tmp_path / "file" / "count"):
        pass


def held(path: Path, ready: threading.Event, leave: threading.Event) -> None:
    with turn(path, wait=True, tell=pytest.fail):
        ready.set()
        leave.wait(60)


def test_who_comes_second_is_told_by_whom_and_since_when_and_waits_or_leaves(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, leave, path = context.Event(), context.Event(), tmp_path / "x" / "run.lock"
    holder = context.Process(target=held, args=(path, ready, leave))
    holder.start()
    ready.wait(60)
    assert holder.pid is not None
    with pytest.raises(RunningError, match=rf"going on already: process {holder.pid}, since 20.*Leave --no-wait out"):
        turn(path, wait=False, tell=pytest.fail).__enter__()
    told: list[str] = []

    def tell(remark: str) -> None:
        told.append(remark)
        leave.set()

    with turn(path, wait=True, tell=tell):
        (remark,) = told
    assert remark.startswith(f"this run is going on already: process {holder.pid}, since 20")
    holder.join()
    assert list(path.parent.iterdir()) == []


def test_what_a_killed_holder_left_is_taken_over_and_told(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, leave, path = context.Event(), context.Event(), tmp_path / "run.lock"
    holder = context.Process(target=held, args=(path, ready, leave))
    holder.start()
    ready.wait(60)
    holder.kill()
    holder.join()
    told: list[str] = []
    with turn(path, wait=False, tell=told.append):
        process, _, _ = json.loads(path.with_suffix(".holder").read_text())
        assert process == os.getpid()
    assert told[0].startswith(f"an earlier start of this run ended without a word: process {holder.pid}, since 20")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has locks of its own")
def test_where_the_file_system_has_no_locks_a_file_that_names_its_holder_is_one(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def missing(descriptor: int, operation: int) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", missing)
    count_up(tmp_path / "count", 2)
    threads = [threading.Thread(target=count_up, args=(tmp_path / "count", 5)) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (tmp_path / "count").read_text() == "12"
    with turn(tmp_path / "run.lock", wait=True, tell=pytest.fail):
        assert lock._Holder.read(tmp_path / "run.holder").process == os.getpid()
    assert [path.name for path in tmp_path.iterdir()] == ["count"]
