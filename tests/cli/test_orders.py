"""`nlbench orders`: one command runs the extremes and drawn orders, records them, and says how far apart they lie."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Command

from nlbench.records import read_record

ASKED = ("orders", "--model", "mlp,chance", "--stream", "split-digits", "--seeds", "2", "--drawn", "2", "--workers", "1")


def test_orders_are_run_recorded_and_their_spread_is_said(command: Command) -> None:
    done = command(*ASKED, "--device", "cpu", "--format", "json")
    assert done.code == 0
    mlp, chance = json.loads(done.out)
    assert [one["name"] for one in mlp["orders"]] == ["natural", "apart", "together", "drawn-1", "drawn-2"]
    means = {one["name"]: one["average_accuracy"]["mean"] for one in mlp["orders"]}
    apart = mlp["spread"]
    assert (apart["best"], apart["worst"]) == (max(means, key=means.get), min(means, key=means.get))
    assert apart["apart"] == max(means.values()) - min(means.values())
    assert chance["model"] == "chance"
    for one in mlp["orders"][1:]:
        record = read_record(Path("results/orders") / one["record"])
        assert record.runs[0].class_orders == {"all": one["classes"]}
    again = command(*ASKED, "--device", "cpu")
    assert again.code == 0
    assert "natural" not in again.err  # nothing was run
    assert "0 1 | 2 3 | 4 5 | 6 7 | 8 9" in again.out
    assert f"from {means[apart['worst']]:.3f} ({apart['worst']})" in again.out


def test_a_run_that_fails_is_told_and_the_command_says_so(command: Command) -> None:
    done = command("orders", "--model", "mlp", "--stream", "permuted-digits", "--workers", "1")
    assert done.code == 2
    assert "deals no classes out to tasks" in done.err
