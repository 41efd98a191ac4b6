"""A compiler is a process that is started once, by whoever needs it, and that fails aloud."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

from nlbench.kernels.compiler import Compiler

NOTHING = ("nlbench.kernels.compilation", "no function", ())
"""What takes only the imports."""


def test_it_is_started_once_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    compiler = Compiler(tmp_path)
    compiler.compile(*NOTHING)
    process = compiler._process
    assert process is not None
    compiler.compile(*NOTHING)
    assert compiler._process is process
    compiler._end()
    assert process.returncode == -signal.SIGKILL


def test_a_failure_is_told_once_with_its_reason_and_nothing_is_asked_again(tmp_path: Path) -> None:
    compiler = Compiler(tmp_path)
    with pytest.raises(ChildProcessError, match=r"exit code 1: ModuleNotFoundError: .*nlbench\.no_such"):
        compiler.compile("nlbench.no_such", "name", ())
    compiler.compile(*NOTHING)
    assert compiler._process is None


@pytest.mark.parametrize("program", ["true", "false"])
def test_a_program_that_is_no_python_is_a_failure(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with pytest.raises(ChildProcessError, match=f"exit code {int(program == 'false')}$"):
        Compiler(tmp_path).compile(*NOTHING)


def test_without_a_python_to_start_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    compiler = Compiler(tmp_path)
    compiler.compile(*NOTHING)
    assert compiler._process is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_process_that_was_forked_leaves_it_to_its_parent(tmp_path: Path) -> None:
    compiler = Compiler(tmp_path)
    compiler.compile(*NOTHING)
    before = compiler._process
    process = os.fork()
    if not process:
        compiler._end()
        os._exit(0)
    os.waitpid(process, 0)
    compiler.compile(*NOTHING)
    assert compiler._process is before
    compiler._end()
