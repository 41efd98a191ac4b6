"""`nlbench flops`, and comparisons within budgets."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Command

ASKED = ("--seeds", "2", "--device", "cpu", "--set", "stream.tasks=2", "--set", "protocol.evaluate_every=none")


def test_flops_are_counted_compared_within_and_drawn(command: Command) -> None:
    for model in ("mlp", "slda"):
        assert command("run", "--model", model, "--stream", "split-digits", *ASKED).code == 0
    done = command("flops", "results", "--out", "flops.json")
    assert done.code == 0
    assert "MFLOP" in done.out
    counts = sorted(json.loads(Path("flops.json").read_text()).values())
    most = f"flops={counts[0]}"
    compared = json.loads(command("compare", "results", "--flops", "flops.json", "--within", most, "--format", "json").out)
    (entry,) = compared["groups"][0]["entries"]
    assert entry["flops"] == counts[0]
    assert "left out: slda" in compared["left_out"][0]
    assert "flops" in command("compare", "results", "--flops", "flops.json").out
    assert command("report", "results", "--flops", "flops.json", "--out", "page.html").code == 0
    assert "against flops" in Path("page.html").read_text()
    wrong = command("compare", "results", "--within", "flops=2")
    assert wrong.code == 2
    assert "count them with nlbench flops" in wrong.err
