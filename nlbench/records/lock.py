"""The sole right to a file or to a run, among the processes that see the same folder.

It is a lock of the system's on an empty file; where the file system has none, as some network drives, a file that names its
holder. Either ends with its holder, killed or not.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from nlbench.errors import RecordError, RunningError

_WITHOUT_LOCKS: Final = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""How a file system says that it has no locks."""

_FOREVER: Final = -1.0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the right to rewrite the file at a path, waiting for whoever has it; the lock file beside it is removed at the end.

    Raises RecordError if that file cannot be made.
    """
    try:
        lock = _acquired(path.with_name(f".{path.name}.lock"), _FOREVER)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}.", "Choose another folder with --results.") from error
    try:
        yield
    finally:
        _release(lock)


@contextmanager
def turn(path: Path, *, wait: bool, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the sole right to the run whose lock is at a path. If another process has it, tell who, and wait or leave.

    Raises RunningError if another has it and `wait` is off, or if this very thread has it; RecordError if the file cannot be
    made. What a holder that died left is taken over, and told.
    """
    holders = path.with_suffix(".holder")
    try:
        try:
            lock = _acquired(path, 0.0)
        except Timeout:
            holder = _Holder.read(holders)
            if holder.place == _Holder.own().place:
                raise RunningError("this run is asked for while it is going on.", "Let it end first.") from None
            if not wait:
                raise RunningError(f"this run is going on already: {holder}.", "Leave --no-wait out to wait for it.") from None
            tell(f"this run is going on already: {holder}; waiting for it to end (--no-wait leaves)")
            lock = _acquired(path, _FOREVER)
        else:
            if holders.exists():
                tell(f"an earlier start of this run ended without a word: {_Holder.read(holders)}")
        holders.write_text(json.dumps(_Holder.own()), encoding="utf-8")
    except OSError as error:
        folder = path.parent.parent
        raise RecordError(
            f"{folder}: results cannot be written: {error.strerror}.", "Name another folder with --results."
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # it says who had it, which the next start takes for one that ended without a word
            holders.unlink(missing_ok=True)
        _release(lock)


class _Holder(NamedTuple):
    """Who holds the right to a run."""

    process: int
    thread: int
    since: str

    @classmethod
    def own(cls) -> _Holder:
        return cls(os.getpid(), threading.get_ident(), datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"))

    @classmethod
    def read(cls, path: Path) -> _Holder:
        try:
            process, thread, since = json.loads(path.read_bytes())
            return cls(int(process), int(thread), datetime.fromisoformat(since).isoformat(sep=" "))
        except (OSError, ValueError, TypeError):
            return cls(0, 0, "")

    @property
    def place(self) -> tuple[int, int]:
        return self.process, self.thread

    def __str__(self) -> str:
        return f"process {self.process}, since {self.since}" if self.process else "another process"


def _acquired(path: Path, timeout: float) -> BaseFileLock:
    """Return the lock at a path, held. Raises Timeout while another has it, OSError where it cannot be made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it falls back
            return _held(FileLock(path), timeout)
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in _WITHOUT_LOCKS:
            raise
    path.unlink(missing_ok=True)  # which says nothing here
    return _held(SoftFileLock(path.with_name(f"{path.name}.held")), timeout)


def _held(lock: BaseFileLock, timeout: float) -> BaseFileLock:
    lock.acquire(timeout=timeout, poll_interval=0.02)
    return lock


def _release(lock: BaseFileLock) -> None:
    """Let go of a lock, its file removed first: whoever waits for an empty one sees that it is gone, and makes another."""
    path = Path(lock.lock_file)
    with suppress(OSError):  # Windows keeps open files
        if path.stat().st_size == 0:  # otherwise it names its holder, and goes with it
            path.unlink()
    lock.release()
