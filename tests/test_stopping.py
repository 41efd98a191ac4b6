"""Signals are noted, not obeyed; what was ignored stays so; a learner cannot end the process with success."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import nlbench
from nlbench import stopping
from nlbench.errors import NlbenchError
from nlbench.records import Row
from nlbench.stopping import SIGNALS, Stopping, exits_told

LEARNERS = Path(__file__).parent / "runner" / "kept" / "learners.py"
STEPS_OF_FIRST_TASK = 18


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_further_ones_are_not_obeyed(number: int) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with Stopping() as stop:
        assert stop.signal is None
        for each in (number, signal.SIGINT, signal.SIGTERM, number):
            os.kill(os.getpid(), each)
        assert stop.signal == number
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_signal_long_after_the_first_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "PATIENCE", 0.0)
    with Stopping():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_was_ignored_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Stopping() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nothing_changes() -> None:
    handlers: list[object] = []

    def look() -> None:
        with Stopping():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


def test_an_exit_is_told_and_a_forked_process_ends() -> None:
    ended = os._exit
    with exits_told():
        with pytest.raises(NlbenchError, match=r"os\._exit\(0\) was called while a learner ran"):
            os._exit(0)
        child = os.fork()
        if not child:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert os._exit is ended


def command(results: Path, learner: str, *more: str) -> list[str]:
    words = f"-m nlbench run --stream split-digits --seeds 1 --device cpu --results {results}".split()
    return [sys.executable, *words, "--model", f"{LEARNERS}:{learner}", *more]


def ended(results: Path, learner: str, *more: str, stop: str = "") -> tuple[int, str]:
    """Return the exit code of the command, and the last line of what it says."""
    environment = {**os.environ, "NLBENCH_STOP": stop} if stop else None
    done = subprocess.run(command(results, learner, *more), env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), pytest.param("SIGHUP", 129, marks=pytest.mark.slow)])
def test_the_command_ends_with_the_code_of_the_signal_and_says_how_to_go_on(name: str, code: int, tmp_path: Path) -> None:
    said = "nlbench: interrupted in task 2 after 2 batches. It is kept; the same command resumes it."
    assert ended(tmp_path, "Pairs", stop=f"{STEPS_OF_FIRST_TASK + 2} {name}") == (code, said)


def test_five_quick_ctrl_c_end_without_traceback_and_without_loss(tmp_path: Path) -> None:
    words = command(tmp_path, "Buffered", "--set", "protocol.passes=20")
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "task 1/5" not in process.stderr.readline():
        assert process.poll() is None
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    rest = process.stderr.read()
    assert process.wait() == 130
    assert "Traceback" not in rest
    assert rest.count("interrupted") == 1
    assert len(list(tmp_path.glob(".checkpoints/*.checkpoint"))) == 1


def test_a_learner_that_ends_the_process_is_no_success(tmp_path: Path) -> None:
    said = "nlbench: os._exit(0) was called while a learner ran. No record was written. Mend the learner."
    assert ended(tmp_path, "Ending") == (2, said)


def test_a_second_run_that_does_not_wait_leaves_and_says_who_is_at_it(tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []

    def listen(row: Row) -> None:
        if not seen:
            seen.append(ended(tmp_path, "Pairs", "--no-wait"))

    nlbench.run(f"{LEARNERS}:Pairs", "split-digits", seeds=1, results=tmp_path, device="cpu", listen=listen)
    code, said = seen[0]
    assert code == 2
    assert said.startswith(f"nlbench: this run is going on already: process {os.getpid()}, since 20")
    assert said.endswith("Leave --no-wait out to wait for it.")
