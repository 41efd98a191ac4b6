"""A worker speaks its protocol alone on the pipe, whatever work prints, and ends with its input."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import dataclass

from nlbench.sweep.engines import READY

CODE = "import sys; sys.path[:0] = {path!r}; from nlbench.sweep.worker import serve; serve()"


@dataclass(frozen=True)
class Printing:
    def perform(self) -> str:
        print("a learner prints")
        return sys.stdin.read()


def test_what_work_prints_goes_to_standard_error() -> None:
    message = pickle.dumps((7, Printing()))
    told = subprocess.run(
        [sys.executable, "-c", CODE.format(path=sys.path)], input=message, capture_output=True, check=True, timeout=120
    )
    first = pickle.loads(told.stdout)
    assert first == READY
    ended = pickle.loads(told.stdout[len(pickle.dumps(first, pickle.HIGHEST_PROTOCOL)) :])
    assert (ended.number, ended.how, ended.value) == (7, "done", "")
    assert b"a learner prints" in told.stderr


def test_a_worker_whose_starter_was_killed_ends_without_a_word() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", CODE.format(path=sys.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with worker:
        assert pickle.load(worker.stdout) == READY
        worker.stdout.close()
        worker.stdin.write(pickle.dumps((7, Printing())))
        worker.stdin.close()
        assert worker.stderr.read() == b"a learner prints\n"
    assert worker.returncode == 0
