"""What is said of a record that was run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from altered_records import altered, better
from synthetic_records import make_record, matrix

from nlbench.api.rerunning import Rerunning
from nlbench.comparison.reproduction import reproduction
from nlbench.display import rerunning
from nlbench.plan import resolve
from nlbench.records.facts import Difference
from nlbench.reporting import Rerun


def done(tmp_path: Path, seeds: tuple[int, ...], *, drawn: bool = True, same_run: bool = True) -> Rerunning:
    record = make_record(tmp_path / "a.parquet", {seed: matrix(0.5, 0.9) for seed in range(4)})
    forged = altered(record, tmp_path / "b.parquet", better(2, 10**8))
    found = reproduction(forged, record, seeds)
    return Rerunning(forged, "the command", "the code changed.", found, drawn, same_run, (Difference("threads", 1, 2),))


def test_of_what_is_not_the_packages_own_a_comparison_is_not_promised(capsys: pytest.CaptureFixture[str]) -> None:
    plan = resolve("mlp", "split-digits", seeds=(0,))
    rerunning.command(Rerun("the command", "the remark", plan), as_json=False)
    assert "--compare runs it again and says whether the numbers hold" in capsys.readouterr().err
    rerunning.command(Rerun("the command", "the remark"), as_json=False)
    assert "--compare runs it again where --model or --stream names" in capsys.readouterr().err.replace("\n", " ")
    rerunning.command(Rerun("the call", "the remark", in_python=True), as_json=False)
    assert capsys.readouterr().err == "the remark\n"


def test_deviations_changes_and_the_chance_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rerunning.compared(done(tmp_path, (1, 2), same_run=False), as_json=False)
    said = capsys.readouterr()
    assert said.out.startswith("mlp on split-digits, seeds 1 to 2 run again: different, ")
    row = next(line for line in said.out.splitlines() if " accuracy " in line)
    assert row.split() == ["2", "accuracy", "10", "of", "30", "0.1", "different"]
    assert "changed  threads: 1 / 2" in said.err
    assert "the code changed." in said.err
    assert "probability 0.5;" in said.err


def test_named_seeds_are_said_to_be_no_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rerunning.compared(done(tmp_path, (1,), drawn=False), as_json=False)
    said = capsys.readouterr()
    assert "equal" in said.out
    assert "probability 0.25, had they been drawn" in said.err
    rerunning.compared(done(tmp_path, (0, 1, 2, 3)), as_json=False)
    assert "probability" not in capsys.readouterr().err


def test_json_holds_the_verdict_and_no_infinity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rerunning.compared(done(tmp_path, (2,)), as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["sameness"], said["exit_status"], said["seeds"]) == ("different", 1, [2])
    assert all(one["seed"] == 2 for one in said["deviations"])
