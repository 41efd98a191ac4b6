"""Whole commands are timed from start to record, beside what does the same work."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from nlbench import sources
from nlbench.bench import commands
from nlbench.bench.commands import METHODS, Command, Once, time_commands
from nlbench.bench.kernels import Limits
from nlbench.bench.runs import RunReport
from nlbench.display import benchmarks
from nlbench.plan import resolve


def test_a_command_says_how_long_it_took_and_trained() -> None:
    once = commands._timed(["-m", "nlbench", *Command("mlp", "split-digits", 1, within=False).arguments()])
    assert 0 < once.training < once.seconds
    assert once.processor > 0


def test_what_is_beside_avalanche_is_measured_at_boundaries_only() -> None:
    for command in METHODS:
        said = dict([command.arguments()[-1].split("=")])
        plan = resolve(command.model, command.stream, seeds=(0,), overrides=said)
        assert plan.stream.protocol.evaluate_every is None, command
        assert plan.stream.protocol.evaluate == "full"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunReport:
    """What is found where Avalanche takes 3, 4 and 5 times as long; the first turn takes far longer, and is not counted."""
    turns: list[Sequence[str]] = []

    def timed(arguments: Sequence[str]) -> Once:
        turns.append(arguments)
        late = 100.0 if turns.count(arguments) == 1 else 1.0
        if "nlbench.bench.avalanche" in arguments:
            return Once(9.0 * late, 8.0 * late, 5.0)
        return Once(3.0 * late, 2.0 * late, 1.0) if "nlbench" in arguments else Once(2.0 * late, 1.5, None)

    class Images:
        def locate(self, data: Path | None) -> dict[str, Path]:
            return {"train": tmp_path / "train"}

    monkeypatch.setattr(commands, "_timed", timed)
    monkeypatch.setattr(commands, "avalanche_installed", lambda: "0.6.0")
    monkeypatch.setattr(sources, "find", lambda name: Images())
    ewc = next(each for each in METHODS if each.model == "ewc")
    found = time_commands([Command("mlp", "split-digits", 5), ewc], 2, None, listen=lambda line: None)
    return RunReport(Limits(1.0, 1.0, 1), (), (), tuple(found))


def test_a_program_of_avalanche_stands_beside_the_command_whose_work_it_does(report: RunReport) -> None:
    alone, digits, ewc, strategy = report.commands
    assert (alone.command, alone.beyond_torch, alone.ratio) == (commands.TORCH, 0.0, None)
    assert (digits.command, digits.ratio) == ("nlbench run --model mlp --stream split-digits --seeds 5", None)
    assert ewc.command.endswith("--model ewc --stream split-mnist --seeds 1 --set protocol.evaluate_every=none")
    assert ewc.ratio == Once(3.0, 4.0, 5.0)
    assert (ewc.seconds, ewc.beyond_torch, ewc.training) == (3.0, 1.0, 1.0)
    assert strategy.command == "Avalanche 0.6.0, EWC, split-mnist, 1 seed"


def test_ratios_are_shown_of_commands_and_of_training_alone(report: RunReport, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(benchmarks, "out", Console(file=shown, width=250))
    benchmarks.runs(report, as_json=False)
    (line,) = (line for line in shown.getvalue().splitlines() if "--model ewc" in line)
    assert line.split()[-3:] == ["3.00", "4.00", "5.00"]
    assert "None" not in shown.getvalue()


def test_a_command_that_says_nothing_of_training_has_none_as_json(
    report: RunReport, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks.runs(report, as_json=True)
    alone, *_ = json.loads(capsys.readouterr().out)["commands"]
    assert (alone["command"], alone["training"]) == (commands.TORCH, None)
