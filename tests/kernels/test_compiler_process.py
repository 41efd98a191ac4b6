"""The process that compiles imports every kernel, without torch, and ends with whoever asks or when nothing is asked for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

pytest.importorskip("numba")

from nlbench import kernels
from nlbench.kernels.compiler import Compiler
from nlbench.kernels.compiler_process import IDLE

KERNELS = [f"nlbench.kernels.{path.parent.name}._numba" for path in sorted(Path(kernels.__path__[0]).glob("*/_numba.py"))]


def test_it_imports_every_kernel(tmp_path: Path) -> None:
    compiler = Compiler(tmp_path)
    assert len(KERNELS) > 10
    for kernel in KERNELS:
        compiler.compile(kernel, "no function", ())
    compiler._end()


def test_it_imports_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "holds.py").write_text(
        "import sys, torch\nraise SystemExit(hasattr(torch, '__version__') or 'torch._C' in sys.modules)"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ChildProcessError, match=r"exit code 0$"):
        Compiler(tmp_path).compile("holds", "no function", ())


@pytest.mark.slow
def test_one_that_ended_after_a_while_is_started_anew(tmp_path: Path) -> None:
    compiler = Compiler(tmp_path)
    compiler.compile(KERNELS[0], "no function", ())
    before = compiler._process
    assert before is not None
    assert before.wait(IDLE + 20) == 0
    compiler.compile(KERNELS[0], "no function", ())
    assert compiler._process not in (None, before)
    compiler._end()


ASLEEP = """
import os, pathlib, time
path = pathlib.Path(__file__).with_suffix(".part")
path.write_text(str(os.getpid()))
path.rename(path.with_suffix(".pid"))
time.sleep(60)
"""
ASKS = """
import os
from nlbench.kernels import compilation
with compilation.by_one_process(compilation.compiled):
    compilation._compiler(os.getpid()).compile("asleep", "", ())
"""


def ended(process: int) -> bool:
    """Whether it has; where nobody fetches what it ended with, a shell of it stays."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def await_that(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads how a process is in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_ends_at_its_work_with_whoever_asks_and_no_lock_is_left(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "asleep.py").write_text(ASLEEP)
    path = os.pathsep.join((str(tmp_path), *filter(None, sys.path)))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": path}
    asking = subprocess.Popen([sys.executable, "-c", ASKS], env=environment, stderr=subprocess.DEVNULL)
    await_that((tmp_path / "asleep.pid").exists)
    (held,) = tmp_path.rglob("*.lock")
    with pytest.raises(Timeout):
        FileLock(held, timeout=0).acquire()
    asking.send_signal(number)
    assert asking.wait(30) != 0
    await_that(partial(ended, int((tmp_path / "asleep.pid").read_text())))
    FileLock(held, timeout=0).acquire()
