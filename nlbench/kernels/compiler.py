"""A process that compiles for this one: a process keeps for good what compiling took, some 80 MiB.

It is a Python of its own (`compiler_process`), which ends some seconds after the last request, and with whoever asks.
"""

from __future__ import annotations

import atexit
import binascii
import os
import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

DONE: Final = b"done\n"
"""What the process answers, once a request is dealt with."""


class Compiler:
    """The process as who asks it sees it: started when it is needed, and not again once it has failed.

    root  the folder below which code is stored, as NUMBA_CACHE_DIR names it
    """

    def __init__(self, root: Path) -> None:
        self._root, self._owner = root, os.getpid()
        self._able = bool(sys.executable) and not hasattr(sys, "frozen")  # else there is no Python to start
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        atexit.register(self._end)

    def compile(self, module: str, name: str, kinds: Any) -> None:
        """Have a function of a module compiled for arguments of these kinds, and stored.

        Raises `OSError` where the process cannot be started or fails, once: what is asked later is not done.
        """
        request = binascii.b2a_base64(pickle.dumps((module, name, kinds)), newline=False) + b"\n"
        try:
            while self._able and not self._answers(request):
                pass  # it had nothing to do for so long that it ended as it was asked
        except OSError:
            self._able = False
            raise

    def _answers(self, request: bytes) -> bool:
        """Return whether the process did what it is asked; if not, it had ended as it should. Raises `OSError` if it failed."""
        fresh = self._process is None
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        done = False
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(request)
            done = any(line == DONE for line in process.stdout)
            if not done and (process.wait() or fresh):
                raise ChildProcessError(f"it ended with exit code {process.returncode}{self._told()}")
        finally:
            if not done:
                self._end()
        return done

    def _started(self) -> subprocess.Popen[bytes]:
        self._errors = TemporaryFile()  # noqa: SIM115
        path = os.pathsep.join(place or os.getcwd() for place in sys.path)
        return subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__}_process import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(self._root)},
            start_new_session=True,  # the terminal's Ctrl-C is for whoever asks
        )

    def _told(self) -> str:
        """Return the last line of what the process said, behind a colon; nothing if it said nothing."""
        assert self._errors is not None
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")

    def _end(self) -> None:
        """End the process, whatever it does; one that was started before this one was forked is its parent's."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.communicate()
        if self._errors is not None:
            self._errors.close()
