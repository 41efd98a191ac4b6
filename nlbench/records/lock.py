"""The sole right to read and rewrite a file, among the processes of this machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nlbench.errors import RecordError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the right to rewrite the file at a path, waiting for whoever has it; ends with its holder, killed or not.

    It is a lock on an empty file beside it, which the last holder removes. Raises RecordError if that file cannot be made.
    """
    lock = path.with_name(f".{path.name}.lock")
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as error:
            raise RecordError(f"cannot write {path}: {error.strerror}.", "Choose another folder with --results.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_at(descriptor, lock):  # the holder we waited for removed it: whoever comes now locks another file
                continue
            try:
                yield
            finally:
                lock.unlink()
            return
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
