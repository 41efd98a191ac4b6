"""How files are read and written where others read and write them too: whole or not at all, and no change lost.

On this machine a file is replaced in one step, and whoever changes one holds a lock. In an object store a whole object is put or
read in one request, and put only if what was read is still there; whoever comes second reads again and makes his change anew.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast

from nlbench.places import is_remote
from nlbench.records.limits import MOST_BYTES
from nlbench.records.lock import locked, turn

Change = Callable[[bytes | None], bytes | None]
"""What is there, or None, -> what shall be there, or None where it may stay as it is."""


NO_FILE: Final = "is no file"
"""Why something cannot be opened that is there and neither a file nor a folder."""


class Storage(Protocol):
    """What records, checkpoints and pages need of the place where they lie. All raise OSError where it refuses."""

    def open(self, path: Path) -> BinaryIO:
        """Return a file as it is at one moment, whatever others write meanwhile. Raises FileNotFoundError."""

    def exists(self, path: Path) -> bool:
        """Return whether there is a file."""

    def replace(self, path: Path, *parts: bytes | memoryview, sync: bool = True) -> None:
        """Put these bytes at a path: a reader sees the old file or the whole new one; with `sync` also after a power cut."""

    def update(self, path: Path, change: Change) -> None:
        """Put what `change` makes of the file at a path, as one step among all writers; it may be called several times."""

    def delete(self, path: Path) -> None:
        """Remove a file, if it is there."""

    def turn(self, path: Path, *, wait: bool, tell: Callable[[str], None]) -> AbstractContextManager[None]:
        """Hold the sole right to the run whose lock is at a path, where the place can give one."""


class _LocalFiles:
    """A file system: temporary files that are renamed, and locks."""

    def open(self, path: Path) -> BinaryIO:
        if not os.path.lexists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        _refuse_other_than_files(path)
        return path.open("rb")

    def exists(self, path: Path) -> bool:
        return os.path.lexists(path)  # a link that leads nowhere too: who opens it is told so

    def replace(self, path: Path, *parts: bytes | memoryview, sync: bool = True) -> None:
        if path.exists():
            _refuse_other_than_files(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.unlink(missing_ok=True)
            with open(temporary, "xb") as file:  # of nobody else, and no link that another user left there
                file.writelines(parts)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def update(self, path: Path, change: Change) -> None:
        with locked(path):
            try:
                with self.open(path) as file:
                    found = file.read(MOST_BYTES + 1)
            except FileNotFoundError:
                found = None
            changed = change(found)
            if changed is not None:
                self.replace(path, changed)

    def delete(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def turn(self, path: Path, *, wait: bool, tell: Callable[[str], None]) -> AbstractContextManager[None]:
        return turn(path, wait=wait, tell=tell)


def _refuse_other_than_files(path: Path) -> None:
    """Raise OSError for what is there and no file: a folder, a pipe, which would never end, a device, which whoever may write
    beside it would replace, a link that leads nowhere.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not path.is_file():
        raise OSError(errno.EINVAL, NO_FILE)


class _ObjectStore:
    """An object store: conditional writes in place of locks. The same run started twice there is run twice; the second finds its
    seeds recorded, and what stands there is kept.
    """

    def open(self, path: Path) -> BinaryIO:
        return io.BytesIO(self._read(_remote(path)))

    def exists(self, path: Path) -> bool:
        with reaching(path):
            return path.exists()

    def replace(self, path: Path, *parts: bytes | memoryview, sync: bool = True) -> None:
        self._put(_remote(path), b"".join(parts))

    def update(self, path: Path, change: Change) -> None:
        remote = _remote(path)
        while True:
            found, mark = self._marked(remote)
            changed = change(found)
            if changed is None:
                return
            try:
                self._put(remote, changed, **({"IfNoneMatch": "*"} if mark is None else {"IfMatch": mark}))
            except FileExistsError:
                continue
            return

    def delete(self, path: Path) -> None:
        remote = _remote(path)
        with reaching(remote):
            try:
                remote.fs.rm_file(remote.path)
            except FileNotFoundError:
                return

    def turn(self, path: Path, *, wait: bool, tell: Callable[[str], None]) -> AbstractContextManager[None]:
        return nullcontext()

    def _read(self, remote: Any) -> bytes:
        with reaching(remote):
            return cast(bytes, remote.fs.cat_file(remote.path, start=0, end=None))  # one request, and so one object

    def _marked(self, remote: Any) -> tuple[bytes | None, str | None]:
        """Return an object with the mark (etag) of its content: that which stood there before and after it was read."""
        with reaching(remote):
            while True:
                before = _etag(remote)
                if before is None:
                    return None, None
                try:
                    content = self._read(remote)
                except FileNotFoundError:
                    continue
                if _etag(remote) == before:
                    return content, before

    def _put(self, remote: Any, content: bytes, **condition: str) -> None:
        if remote.protocol not in _CONDITIONAL:
            raise OSError(errno.EROFS, f"{remote.protocol}:// has no conditional writes that nlbench knows; s3:// has")
        with reaching(remote):
            remote.fs.pipe_file(remote.path, content, chunksize=_ONE_REQUEST, **condition)


_CONDITIONAL: Final = frozenset({"s3", "s3a"})
_ONE_REQUEST: Final = 2**31  # what is smaller is put in one request, to which the condition belongs
_NUMBERS: Final[dict[type, int]] = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES}
_CHANGED: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


def storage(path: Path) -> Storage:
    """Return how the place of a path is read and written."""
    return _OBJECTS if is_remote(path) else _LOCAL


def _remote(path: Path) -> Any:
    return path


def _etag(remote: Any) -> str | None:
    try:
        return str(remote.fs.info(remote.path, refresh=True)["ETag"])
    except FileNotFoundError:
        return None


@contextmanager
def reaching(path: Path) -> Iterator[None]:
    """Raise what a client of an object store raises as OSError; FileExistsError where a condition did not hold."""
    if not is_remote(path):
        yield
        return
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise OSError(errno.EIO, str(error)) from error
    except OSError as error:
        code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code", "")
        if code in _CHANGED:
            raise FileExistsError(errno.EEXIST, "it was changed meanwhile") from error
        if error.strerror is None:
            raise OSError(error.errno or _NUMBERS.get(type(error), errno.EIO), str(error)) from error
        raise


_LOCAL: Final = _LocalFiles()
_OBJECTS: Final = _ObjectStore()
