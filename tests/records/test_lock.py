from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path

import pytest

from nlbench.errors import RecordError
from nlbench.records.lock import locked


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
