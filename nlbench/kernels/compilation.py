"""Compiles functions with Numba and keeps their machine code on disk, apart for every version of the sources it is made from.

Numba looks only at the file a function is written in to tell whether its stored code is out of date. Kernels are made of
functions of several files, so each version of those files gets a folder of its own. What is stored only saves time: where it is
cut or cannot be written, functions are compiled again, and one line says so. Processes that start at once wait for one of them to
compile what all of them need; and that one has it done by a process that ends afterwards (`compiler`), as it would keep for good
what compiling took.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numba
from filelock import FileLock
from numba.core.caching import FunctionCache
from numba.core.runtime import rtsys

from nlbench import cache as caches
from nlbench.errors import Remark

if TYPE_CHECKING:
    from nlbench.kernels.compiler import Compiler

_UNREADABLE: Final = (
    EOFError,
    UnpicklingError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ImportError,
    RuntimeError,
)
"""What reading cut or foreign files raises, beside OSError."""


class Storage(FunctionCache):
    """Numba's own store, read without first registering all that Numba can compile: 0.3 s that stored code has no use for."""

    asks: ClassVar[bool] = True
    """Whether the compiler's process is asked for what is missing: not by itself."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        rtsys.initialize(target_context)  # its allocator, which stored code calls
        found = self._read(sig, target_context)
        if found is None and self._enabled and self.asks and self._py_func.__module__.startswith("nlbench."):
            try:
                _compiler(os.getpid()).compile(self._py_func.__module__, self._py_func.__qualname__, sig)
            except OSError as error:
                remark(f"the process that compiles has failed: {error}. This one compiles, and keeps the memory that takes.")
            found = self._read(sig, target_context)
        return found

    def _read(self, sig: Any, target_context: Any) -> Any:
        try:
            return self._load_overload(sig, target_context)
        except (OSError, *_UNREADABLE):
            remark(f"machine code stored in {FOLDER} cannot be read: it is compiled again.")
            with suppress(OSError):
                Path(self._cache_file._index_path).unlink()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except (OSError, *_UNREADABLE) as error:
            self.disable()
            _not_stored(error)


@cache
def _compiler(process: int) -> Compiler:
    """The compiler of a process: one that was forked needs its own."""
    from nlbench.kernels.compiler import Compiler

    return Compiler(FOLDER.parent)


@cache
def remark(text: str) -> None:
    """Tell the user once."""
    warnings.warn(text, Remark, stacklevel=3)


def _not_stored(reason: object) -> None:
    remark(
        f"machine code cannot be stored in {FOLDER} ({reason}): every run compiles it anew. Name a folder with NUMBA_CACHE_DIR."
    )


@cache
def _usable() -> bool:
    """Whether code can be stored; if not, Numba would take a folder of its own, in which one version is taken for another."""
    try:
        if caches.folder() is None and not os.environ.get("NUMBA_CACHE_DIR"):
            raise OSError("there is no home folder")
        FOLDER.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=FOLDER).close()
    except OSError as error:
        _not_stored(error.strerror or error)
        return False
    return True


def stored(compilable: Any, function: Callable[..., Any]) -> Any:
    """A Numba dispatcher or C function that was made of `function` and is not compiled yet; its machine code is looked for and
    stored in this version's folder, if there can be one.
    """
    if not _usable():
        return compilable
    settings: Any = numba.config
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(FOLDER)
    try:
        compilable._cache = Storage(function)
    finally:
        settings.CACHE_DIR = before
    return compilable


COMPILED: Final[dict[tuple[str, str], Any]] = {}
"""What `compiled` made, by module and name."""


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """The function, compiled by Numba on first use: C division, no interpreter lock, stored on disk."""
    made = stored(numba.njit(nogil=True, error_model="numpy", **options)(function), function)
    COMPILED[function.__module__, function.__qualname__] = made
    return made


LONGEST_WAIT: Final = 300.0
"""Seconds for which another process is let compile."""


@contextmanager
def by_one_process(function: Callable[..., Any]) -> Iterator[None]:
    """Hold the sole right among processes to compile a function, where that can be had: the others will find its code stored.
    The compiler's process has it from the one that asks.
    """
    lock = FileLock(FOLDER / f"{function.__module__}.{function.__qualname__}.lock", timeout=LONGEST_WAIT)
    held = False
    if Storage.asks and _usable():
        with suppress(OSError), warnings.catch_warnings():  # one that waited too long, or finds no locks, compiles too
            warnings.simplefilter("ignore", UserWarning)  # that the lock is a file where the file system has no locks
            lock.acquire(poll_interval=0.02)
            held = True
    try:
        yield
    finally:
        if held:
            lock.release()


def _folder() -> Path:
    here = Path(__file__).parent
    shared = (here / name for name in ("compilation.py", "elementary.py", "programs.py", "tiles.py"))
    sources = sorted({*shared, *here.glob("*/_[!_]*.py")} - {*here.glob("*/_triton*.py")})
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    root = os.environ.get("NUMBA_CACHE_DIR") or (caches.folder() or Path("~")) / "numba"
    return Path(root) / digest


FOLDER: Final = _folder()
