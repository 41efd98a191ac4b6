"""The loop learns what a run learns, by its own code; a report that finds otherwise says so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from small_streams import made_mnist

from nlbench import api, cli
from nlbench.bench import loop, runs
from nlbench.bench.runs import Case, bench_runs
from nlbench.errors import UnknownNameError
from nlbench.plan import Machine
from nlbench.sources import idx

CPU = Machine(device="cpu")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(idx, "MNIST", made_mnist(tmp_path, side=28, n_train=320))
    monkeypatch.setenv("NLBENCH_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("stream", ["permuted-mnist", "split-mnist"])
def test_the_loop_learns_what_a_run_learns(stream: str, made: Path) -> None:
    plan = Case("mlp", stream, 1, batch=16).plan()
    ours, theirs = runs.run(plan, CPU), runs.loop(plan, CPU)
    assert ours.accuracies.shape == theirs.accuracies.shape
    assert np.abs(ours.accuracies - theirs.accuracies).max() <= 0.011  # a sample of the hundred
    assert ours.accuracies[-1].max() > 0.5
    assert min(ours.train, theirs.train, ours.evaluate, theirs.evaluate) > 0


def test_a_report_checks_and_times_runs_and_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlbench.bench.kernels.COPY_BYTES", 2**20)
    report = bench_runs(
        streams=["split-digits"], repeats=1, commands=False, cases=(Case("mlp", "split-digits", 3, batch=32, within=False),)
    )
    assert report.passed
    (check,) = report.checks
    assert check.worst_samples <= 1
    ours, theirs = report.timings
    assert (ours.implementation, theirs.implementation) == ("nlbench", "tight loop")
    steps = sum(-(-size // 32) for size in (288, 288, 291, 288, 283))  # training samples of the five tasks
    assert ours.step_us == pytest.approx(ours.train / steps / 3 * 1e6)
    assert ours.ratio == pytest.approx(theirs.train / (ours.train / 3))
    assert theirs.ratio == 1.0


def test_a_run_that_learns_something_else_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    step = loop.Perceptron.step
    monkeypatch.setattr(loop.Perceptron, "step", lambda self, *batch: step(self, *batch[:-1], batch[-1] / 2))
    checks, _ = runs.time_case(Case("mlp", "split-digits", 1), CPU, repeats=1)
    assert not checks[0].passed


def test_the_loop_is_a_program(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop.main("permuted-mnist", str(made / idx.MNIST.folder))
    found = json.loads(capsys.readouterr().out)
    assert np.shape(found["accuracies"]) == (11, 10)
    assert found["train"] > 0


def test_the_loop_uses_nothing_of_the_package_but_draws() -> None:
    source = Path(loop.__file__).read_text(encoding="utf-8")
    assert set(re.findall(r"(?:from|import) (nlbench[.\w]*)", source)) == {"nlbench"}
    assert "from nlbench import seeds as draws" in source


def test_an_unknown_stream_is_one_line() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown timed stream 'split-digit'\. Did you mean split-digits"):
        api.bench_runs(["split-digit"])


@pytest.mark.slow
def test_the_command_prints_ratios_and_its_verdict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("nlbench.bench.kernels.COPY_BYTES", 2**20)
    monkeypatch.setattr(runs, "CASES", (Case("mlp", "split-digits", 2),))
    arguments = ["bench", "runs", "--stream", "split-digits", "--repeats", "1", "--no-commands"]
    with pytest.raises(SystemExit) as exit_:
        cli.app(arguments)
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert "same accuracies as the loop" in shown
    assert "µs a step and seed" in shown  # whole, whatever the width
    with pytest.raises(SystemExit):
        cli.app([*arguments, "--json"])
    assert {row["implementation"] for row in json.loads(capsys.readouterr().out)["timings"]} == {"nlbench", "tight loop"}
