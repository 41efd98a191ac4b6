"""The command line and Python scripts in this process, for tests: what a start of Python and torch costs is paid once."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nlbench import cli
from nlbench.display import console

ROOT = Path(__file__).parents[1]


class Done(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Done]


def run(command: Command, *more: str, model: str = "mlp", stream: str = "split-digits", seeds: str = "2") -> Done:
    """Return what `nlbench run` answers, a small run unless told otherwise."""
    return command("run", "--model", model, "--stream", stream, "--seeds", seeds, *more)


def the_record(folder: str = "results") -> Path:
    """Return the only record in a folder."""
    (path,) = Path(folder).glob("*.parquet")
    return path


@contextmanager
def _standing_in(folder: Path, *arguments: str, width: int = 160) -> Iterator[tuple[TextIOWrapper, TextIOWrapper]]:
    """Stand in a folder as a process of its own would, and give what is written to its two streams."""
    out, err = (TextIOWrapper(BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with chdir(folder), redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", list(arguments))
        patched.setattr(console.out, "width", width)
        yield out, err


def _written(stream: TextIOWrapper) -> str:
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]


def nlbench(folder: Path, *arguments: str, width: int = 160) -> Done:
    """Return what the command line answers in a folder."""
    code: Any = 0
    with _standing_in(folder, "nlbench", *arguments, width=width) as (out, err):
        try:
            cli.main()
        except SystemExit as stopped:
            code = stopped.code or 0
    return Done(code, _written(out), _written(err))


def script(folder: Path, path: str | Path) -> str:
    """Return what a Python file prints that is started in a folder. Raises what it raises."""
    with _standing_in(folder, str(path)) as (out, _):
        runpy.run_path(str(path), run_name="__main__")
    return _written(out)


TOGETHER = """
import json, sys
from pathlib import Path
from command_line import nlbench
for words in json.loads(sys.argv[1]):
    sys.__stdout__.write(json.dumps(nlbench(Path.cwd(), *words)) + "\\n")
"""


def together(folder: Path, *commands: Sequence[str], package: Path = ROOT) -> list[str]:
    """Return what command lines print, one after the other in one new process that finds the packages of the folder."""
    path = os.pathsep.join(map(str, (package, folder, ROOT / "tests")))
    command = [sys.executable, "-c", TOGETHER, json.dumps(commands)]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = [Done(*json.loads(line)) for line in done.stdout.splitlines()]
    for answer in answers:
        assert answer.code == 0, answer.err
    return [answer.out for answer in answers]
