"""Whatever a terminal's encoding, all that is written can be, and a remark is one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nlbench.cli import streams


def test_signs_are_spelled_in_ascii() -> None:
    assert "0.5 ± 0.1 … ─│┌ ━ é 中".encode("ascii", streams.PLAIN) == b"0.5 +/- 0.1 ... -|+ - e ?"
    assert "\ud800".encode("utf-8", streams.PLAIN) == b"?"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_every_list_can_be_written_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nlbench", "list"]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding}, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "split-digits" in done.stdout.decode(encoding)


@pytest.mark.parametrize("shut", ["sys.stdout.close(); sys.stderr.close()", "os.close(1); os.close(2)"])
def test_what_a_learner_closes_is_still_written_to(shut: str) -> None:
    wrote = "sys.stdout.write('shown\\n'); sys.stderr.write('told\\n')"
    script = f"import os, sys\nfrom nlbench.cli import streams\nwith streams.prepared():\n    {shut}; {wrote}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "shown\n", "told\n")


UNREAD = """
import os, signal, sys
from nlbench import cli
cli.app = lambda arguments: os.write(2, b"began ") and DOES
try:
    cli.main()
except BrokenPipeError:
    os.write(2, b"an error")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="sends it")
@pytest.mark.parametrize(
    ("does", "code", "told"),
    [
        ("sys.stdout.write('shown')", -signal.SIGPIPE, "began "),
        ("print('shown', flush=True)", -signal.SIGPIPE, "began "),
        ("os.write(1, b'shown')", 2, "began nlbench: output: Broken pipe.\n"),
    ],
)
def test_a_command_that_nobody_reads_ends_by_the_signal_and_by_no_other_broken_pipe(does: str, code: int, told: str) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([sys.executable, "-c", UNREAD.replace("DOES", does)], stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert (done.returncode, done.stderr) == (code, told)


REPEATED = """
import warnings
from nlbench.cli import streams
with streams.prepared():
    for number in range(4):
        with warnings.catch_warnings():  # as a library does on its way: Python forgets what it has said
            warnings.warn(f"warning {number % 2}", RuntimeWarning)
"""


def test_each_warning_is_said_once() -> None:
    done = subprocess.run([sys.executable, "-c", REPEATED], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "RuntimeWarning" in line]
    assert [line.rpartition(": ")[2] for line in said] == ["warning 0", "warning 1"]


def test_the_stream_that_is_written_to_cannot_be_detached() -> None:
    script = "import sys\nfrom nlbench.cli import streams\nwith streams.prepared():\n    sys.stdout.detach()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "cannot be detached" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    "shell", ["{} list nothing 2>&-", "{} list models >/dev/full 2>&-", "{} list models >/dev/full 2>/dev/full"]
)
def test_without_a_place_to_say_what_is_wrong_the_exit_code_says_it(shell: str, tmp_path: Path) -> None:
    done = subprocess.run(shell.format(f"{sys.executable} -m nlbench"), shell=True, stdout=subprocess.DEVNULL, cwd=tmp_path)
    assert done.returncode == 2  # 1 is a verdict


HOMELESS = """
import os, pwd, sys, warnings
for name in ("HOME", "XDG_CACHE_HOME", "NLBENCH_DATA", "NUMBA_CACHE_DIR"):
    os.environ.pop(name, None)
def nobody(*uid):
    raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = pwd.getpwnam = nobody
from nlbench import cli
sys.argv[1:] = sys.argv[2:]
cli.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no passwd")
def test_without_a_home_data_that_would_be_kept_there_are_refused(tmp_path: Path) -> None:
    missing = [sys.executable, "-c", HOMELESS, "-", "data", "verify", "mnist"]
    assert "there is no home" in subprocess.run(missing, capture_output=True, text=True, cwd=tmp_path).stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no passwd")
def test_without_a_home_a_run_works_and_says_once_that_it_cannot_store_code(tmp_path: Path) -> None:
    words = ["run", "--model", "mlp", "--stream", "split-digits", "--seeds", "1", "--results", "r", "--backend", "numba"]
    done = subprocess.run([sys.executable, "-c", HOMELESS, "-", *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "stored" in line]
    assert len(told) == 1
    assert told[0].startswith("nlbench: machine code cannot be stored in")
    assert "there is no home folder" in told[0]
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
