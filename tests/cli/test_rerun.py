"""What `nlbench rerun` says, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

from altered_records import altered, better
from command_line import Command

from nlbench import api


def test_the_command_is_said_and_the_numbers_are_compared(command: Command, tmp_path: Path) -> None:
    record = api.run("mlp", "split-digits", seeds=3, results="results").record
    said = command("rerun", str(record.path))
    assert said.out == "nlbench run --model mlp --stream split-digits --seeds 3\n"
    done = command("rerun", str(record.path), "--compare", "--seeds", "2", "--threads", "2")
    assert done.code == 0
    assert done.out.startswith("mlp on split-digits, seeds ")
    assert "probability 0.67" in done.err
    forged = altered(record, tmp_path / "forged.parquet", better(1, 6))
    refused = command("rerun", str(forged.path), "--compare", "--format", "json")
    assert refused.code == 1
    found = json.loads(refused.out)
    assert (found["sameness"], found["seeds"], found["chance"]) == ("different", [0, 1, 2], 1.0)
    assert {one["seed"] for one in found["deviations"] if not one["rounding"]} == {1}


def test_what_cannot_be_judged_exits_with_two(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no record")
    assert command("rerun", "a.parquet", "--compare").code == 2
