"""A disk that is full, was made read-only or took a right away, at any moment of a run: one line, and nothing is lost."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from small_streams import rows_by_seed, small_stream

import nlbench
from nlbench import NlbenchError
from nlbench.plan import DeclaredStream

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Disk:
    """Counts what changes a folder, and refuses from the n-th change on, or the n-th alone."""

    folder = ""
    count = 0
    refuses = range(0)
    number = 0

    def changes(self, event: str, arguments: tuple[Any, ...]) -> None:
        path = arguments[0] if arguments else None
        if not self.folder or not isinstance(path, str | os.PathLike) or not os.fspath(path).startswith(self.folder):
            return
        if event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITES):
            self.step()

    def step(self) -> None:
        self.count += 1
        if self.count in self.refuses:
            raise OSError(self.number, os.strerror(self.number))


DISK = Disk()
sys.addaudithook(DISK.changes)


@contextmanager
def refusing(folder: Path, refuses: range, number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    sync = os.fsync
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: (DISK.step(), sync(descriptor))[1])
        DISK.folder, DISK.count, DISK.refuses, DISK.number = str(folder), 0, refuses, number
        try:
            yield
        finally:
            DISK.folder = ""


def run(stream: DeclaredStream, results: Path) -> dict[int, list[Any]]:
    return rows_by_seed(nlbench.run("mlp", stream, seeds=2, results=results, device="cpu").record)


def changes_of_a_run(stream: DeclaredStream, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    with refusing(folder, range(0), 0, monkeypatch):
        run(stream, folder / "results")
    return DISK.count


def tried(
    stream: DeclaredStream, refuses: range, number: int, folder: Path, monkeypatch: pytest.MonkeyPatch, expected: Any
) -> None:
    results = folder / "results"
    with refusing(folder, refuses, number, monkeypatch), suppress(NlbenchError):
        run(stream, results)
    for left in results.rglob("*.parquet"):
        assert rows_by_seed(nlbench.load(left)[0]) == expected  # whole or not there
    assert run(stream, results) == expected
    assert len(list(results.glob("*.parquet"))) == 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("number", "every"),
    [
        (errno.ENOSPC, 4),
        (errno.EACCES, 9),
        (errno.EROFS, 9),
        pytest.param(errno.ENOSPC, 1, marks=pytest.mark.slow),
        pytest.param(errno.EACCES, 1, marks=pytest.mark.slow),
    ],
)
def test_whatever_change_is_refused_the_next_start_records_the_same(
    number: int, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = small_stream()
    expected = run(stream, tmp_path / "whole")
    count = changes_of_a_run(stream, tmp_path / "counted", monkeypatch)
    assert count > 10
    for first in range(1, count + 1, every):
        tried(stream, range(first, first + 1), number, tmp_path / f"once{first}", monkeypatch, expected)
        tried(stream, range(first, 10**6), number, tmp_path / f"on{first}", monkeypatch, expected)


def test_a_results_folder_that_cannot_be_written_is_said_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    with (
        refusing(tmp_path, range(1, 10**6), errno.EROFS, monkeypatch),
        pytest.raises(
            NlbenchError, match=r"results cannot be written: Read-only file system\. Name another folder with --results"
        ),
    ):
        nlbench.run("mlp", small_stream(), seeds=1, results=tmp_path / "results", listen=seen.append)
    assert not seen
