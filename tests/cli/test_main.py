"""How every command ends: what a user can mend, usage errors, defects, a full output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Command, Done, run, the_record
from typer.main import get_command

import nlbench
from nlbench import api, cli


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("run", "-m", "mpl", "-s", "split-digits"), "nlbench: unknown model 'mpl'. Did you mean mlp?"),
        (("run", "-m", "mlp", "-s", "split-digit"), "nlbench: unknown stream 'split-digit'. Did you mean split-digits"),
        (
            ("run", "-m", "./no.py:X", "-s", "split-digits"),
            "nlbench: no.py: there is no such file. Name a learner as ./file.py:Name.",
        ),
        (
            ("run", "-m", "mlp", "-s", "split-digits", "--seeds", "x"),
            "nlbench: seeds must be a number, or numbers separated by commas, got 'x'.",
        ),
        (
            ("run", "-m", "mlp", "-s", "split-digits", "--set", "rate"),
            "nlbench: --set rate: must be key=value, such as learner.rate=0.05.",
        ),
        (("run", "-m", "mlp", "-s", "split-digits", "--set", "rate=1"), "nlbench: --set rate: must be one of stream.<key>"),
        (("run", "-m", "mlp", "-s", "split-digits", "--device", "gpu"), "nlbench: device must be auto, cpu or cuda, got 'gpu'."),
        (
            ("run", "-m", "mlp", "-s", "split-digits", "--backend", "numbra"),
            "nlbench: unknown backend 'numbra'. Did you mean numba",
        ),
        (
            ("run", "-m", "mlp", "-s", "split-digits", "--precision", "fp16"),
            "nlbench: unknown precision 'fp16'. Did you mean bf16?",
        ),
        (
            ("run", "-m", "cms", "-s", "split-digits", "--precision", "bf16"),
            "nlbench: learner 'cms' has no products in bf16: it declares float32. Leave --precision out,",
        ),
        (
            ("tune", "-m", "cms", "-s", "split-digits", "--space", "learner.rate=1", "--precision", "bf16", "--workers", "1"),
            "nlbench: learner 'cms' has no products in bf16",
        ),
        (
            ("run", "-m", "mlp", "-s", "split-digits", "--results", "file/x"),
            "nlbench: {here}/file/x: results cannot be written: Not a directory.",
        ),
        (
            ("run", "-m", "mlp", "-s", "split-digits", "--device", "meta"),
            "nlbench: device must be auto, cpu or cuda, got 'meta'.",
        ),
        (("bench", "kernels", "--device", "mps"), "nlbench: device must be auto, cpu or cuda, got 'mps'."),
        (("run", "-m", "mlp", "-s", "split-digits", "--seeds", "18446744073709551616,"), "nlbench: seeds must be below 2^63"),
        (
            ("tune", "-m", "mlp", "-s", "split-digits", "--space", "learner.rate=1", "--objective", "intransigence"),
            "nlbench: objective intransigence cannot be measured on 3 tasks: it needs other runs.",
        ),
        (
            ("tune", "-m", "mlp", "-s", "online-permuted-mnist", "--space", "learner.rate=1", "--objective", "forgetting"),
            "nlbench: objective forgetting cannot be measured on 3 tasks: needs rows 1..T of tasks 1..T−1",
        ),
        (
            ("tune", "-m", "mlp", "-s", "split-digits", "--space", "learner.rate=1", "--objective", "forgetting", "--tasks", "1"),
            "nlbench: objective forgetting cannot be measured on 1 tasks: ",
        ),
        (("run", "-m", "mlp", "-s", "split-digits", "--set", "learner.rate=1e30"), "nlbench: seed 0, task 1, step "),
        (
            ("tune", "-m", "mlp", "-s", "split-digits", "--space", "protocol.passes=1,2"),
            "nlbench: --space protocol.passes: a search varies learner.<key> and batch only. Fix other facts",
        ),
        (
            ("tune", "-m", "mlp", "-s", "split-digits", "--space", "presents=sequential,cumulative"),
            "nlbench: --space presents: a search varies",
        ),
        (("check", "empty", "--update", "--junit", "x.xml"), "nlbench: --update writes no report: it takes no --junit, "),
        (("check", "empty", "--update", "--markdown", "x.md"), "nlbench: --update writes no report: it takes no --junit, "),
        (("check", "empty", "--update", "--format", "json"), "nlbench: --update writes no report: it takes no --junit, "),
        (("show", "mpl"), "nlbench: unknown model, stream, claim or record 'mpl'. Did you mean mlp?"),
        (("show", "no.parquet"), "nlbench: no.parquet does not exist."),
        (("validate", "no.toml"), "nlbench: no.toml: cannot be read: No such file or directory."),
        (("compare", "empty"), "nlbench: no record found in empty."),
        (("data", "verify", "minst"), "nlbench: unknown data set 'minst'. Did you mean mnist"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_2(arguments: tuple[str, ...], line: str, command: Command) -> None:
    Path("file").touch()
    Path("empty").mkdir()
    done = command(*arguments)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(line.replace("{here}", str(Path.cwd())))
    assert "Traceback" not in done.err
    assert not list(Path().glob("**/*.parquet"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "--model", "mlp"),
        ("run", "--model", "mlp", "--stream", "split-digits", "--sedes", "3"),
        ("rnu",),
        ("compare",),
    ],
)
def test_a_usage_error_exits_2_without_a_traceback(arguments: tuple[str, ...], command: Command) -> None:
    done = command(*arguments)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert "Usage:" in done.err


def test_a_defect_exits_70_and_debug_shows_where(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(api, "resolve", broken)
    done = run(command)
    assert done.code == 70
    assert done.err.startswith("nlbench: defect: ZeroDivisionError: division by zero. Run again with --debug")
    traced = run(command, "--debug")
    assert traced.code == 70
    assert traced.err.startswith("Traceback")
    assert traced.err.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.skipif(sys.platform == "win32", reason="a folder that one is in cannot be removed")
def test_a_folder_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    run = [sys.executable, "-c", "import os; os.rmdir(os.getcwd()); from nlbench.cli import main; main()"]
    run += ["run", "--model", "chance", "--stream", "split-digits", "--seeds", "1"]
    done = subprocess.run(run, cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "nlbench: the folder that this was started in: No such file or directory."


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [("list", "metrics"), ("show", "mlp", "--format", "json")])
def test_an_output_that_is_full_is_one_line_and_exit_2(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "nlbench", *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "nlbench: output: No space left on device.\n")


def test_debug_also_shows_where_a_mendable_error_comes_from(command: Command) -> None:
    for arguments in (("run", "-m", "mpl", "-s", "split-digits"), ("check", "mpl.parquet")):
        done = command("--debug", *arguments)
        assert done.code == 2  # not Python's 1, which is a verdict
        assert done.err.startswith("Traceback")
        assert "mpl" in done.err.splitlines()[-1]


def test_version(command: Command) -> None:
    assert command("--version") == Done(0, f"{nlbench.__version__}\n", "")


def test_the_module_runs_as_a_command_of_its_own(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "nlbench",
        "run",
        "-m",
        "mlp",
        "-s",
        "split-digits",
        "--seeds",
        "1",
        "--results",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "60"})
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == f"record  {the_record(str(tmp_path))}"  # however narrow the terminal
    wrong = subprocess.run([*command[:3], "run", "-m", "mlp"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "Traceback" not in wrong.stderr


def test_a_command_alone_is_what_it_is_among_all() -> None:
    whole: Any = get_command(cli.app)
    for command in cli.COMMANDS:
        name = command.__name__.rstrip("_")
        alone: Any = get_command(cli._asked([name, "--help"]))
        assert list(alone.commands) == [name]
        assert [each.opts for each in alone.commands[name].params] == [each.opts for each in whole.commands[name].params]
        assert alone.help == whole.help
    for arguments in ([], ["--help"], ["data", "fetch"], ["rnu"]):
        assert cli._asked(arguments) is cli.app
