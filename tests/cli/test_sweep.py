"""`nlbench sweep`: a grid from a file or options, run once, shown, with exit codes that a script can trust."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from command_line import Command

from nlbench.api import sweeping
from nlbench.sweep import read_grid

SMALL = ("sweep", "-m", "mlp", "-s", "split-digits", "--set", "learner.hidden=[8],[16]", "--seeds", "2", "--engine", "here")


def test_a_grid_is_run_once_and_shown(command: Command) -> None:
    done = command(*SMALL)
    assert done.code == 0
    assert ["split-digits", "mlp", "2", "2"] in [line.split()[:4] for line in done.out.splitlines()]
    assert len(list(Path("results").glob("*.parquet"))) == 2
    again = json.loads(command(*SMALL, "--format", "json").out)
    assert [(cell["state"], cell["seeds_run"]) for cell in again] == [("recorded", [])] * 2
    assert again[0]["cell"] == "mlp learner.hidden=[8] on split-digits"
    listed = json.loads(command(*SMALL, "--seeds", "3", "--dry-run", "--format", "json").out)
    assert [cell["missing"] for cell in listed["cells"]] == [[2], [2]]
    assert listed["costs"]["seconds"] > 0


def test_what_diverges_fails_only_if_it_is_to_stop(command: Command) -> None:
    masked = command("sweep", "-m", "mlp", "-s", "split-digits", "--set", "learner.rate=1e30", "--seeds", "1", "--engine", "here")
    assert (masked.code, "diverged, and has no record: seed 0, task 1" in masked.err) == (0, True)
    stopped = command(
        *("sweep", "-m", "mlp", "-s", "split-digits", "--set", "learner.rate=1e30", "--seeds", "1", "--engine", "here"),
        *("--on-divergence", "stop"),
    )
    assert stopped.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "a sweep needs models and streams"),
        (("-m", "mlp", "-s", "split-digits", "--engine", "rya"), "unknown engine 'rya'"),
        (("-m", "mlp", "-s", "split-digits", "--budget", "x"), "budget x: must be a time or a number of cells"),
        (("-m", "mlp,er", "-s", "split-digits", "--set", "learner.rate=1"), "er on split-digits: --set learner.rate"),
    ],
)
def test_what_cannot_be_swept_is_refused(command: Command, arguments: tuple[str, ...], message: str) -> None:
    done = command("sweep", *arguments)
    assert done.code == 2
    assert message in done.err


ROOT = Path(__file__).parents[2]
SHOWN = [ROOT / "README.md", ROOT / "nlbench/cli/sweep.py", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_sweep_that_a_page_or_the_help_shows_is_a_grid() -> None:
    commands = {line for path in SHOWN for line in re.findall(r"(nlbench sweep --model [^#`\n]*)", path.read_text("utf-8"))}
    assert len(commands) > 2
    for command in commands:
        said = dict(re.findall(r"--(model|stream|set) (\S+)", command))
        values = dict([said["set"].split("=", 1)]) if "set" in said else {}
        assert sweeping.grid_of(None, said["model"], said["stream"], "1", values, None).points()
    (page,) = re.findall(r"```toml\n(# grid\.toml.*?)```", (ROOT / "docs/sweeps.md").read_text("utf-8"), re.DOTALL)
    assert len(read_grid(tomllib.loads(page), "grid.toml").points()) == 2 * (3 * 2 + 2)


FORTY = [sys.executable, "-m", "nlbench", "sweep", "-m", "mlp", "-s", "split-digits", "--seeds", "2", "--workers", "2"]
FORTY += ["--set", f"learner.rate={','.join(str(0.01 * n) for n in range(1, 41))}", "--format", "json"]


@pytest.mark.slow
def test_killed_the_same_command_goes_on(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(FORTY, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list((tmp_path / "results").glob("*.parquet"))) < 5:
        time.sleep(0.1)
    started.kill()
    started.wait()
    done = {path.name: path.read_bytes() for path in (tmp_path / "results").glob("*.parquet")}
    again = subprocess.run(FORTY, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    cells = json.loads(again.stdout)
    assert {cell["state"] for cell in cells} == {"recorded", "run"}
    assert len(cells) == len(list((tmp_path / "results").glob("*.parquet"))) == 40
    assert all((tmp_path / "results" / name).read_bytes() == content for name, content in done.items())
    assert not list((tmp_path / "results" / ".checkpoints").iterdir())


@pytest.mark.slow
def test_interrupted_it_saves_and_the_same_command_goes_on_without_a_seed_twice(tmp_path: Path) -> None:
    command, environment = FORTY, {**os.environ, "PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    while len(list((tmp_path / "results").glob("*.parquet"))) < 5:
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    _, told = started.communicate(timeout=60)
    done = {path.name: path.read_bytes() for path in (tmp_path / "results").glob("*.parquet")}
    assert started.returncode == 130
    assert f"interrupted after {len(done)} of 40 cells. What is done is kept; the same command goes on." in told
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    states = [cell["state"] for cell in json.loads(again.stdout)]
    assert (states.count("recorded"), states.count("run")) == (len(done), 40 - len(done))
    assert all((tmp_path / "results" / name).read_bytes() == content for name, content in done.items())
    assert not list((tmp_path / "results" / ".checkpoints").iterdir())
