"""Counts are made once, by the fingerprint of a run, and what cannot be run again is named."""

from __future__ import annotations

from pathlib import Path

from nlbench import api

OUTSIDE = Path(__file__).parents[1] / "runner" / "kept" / "learners.py"


def test_counts_are_made_once_and_what_cannot_be_run_again_is_named(tmp_path: Path) -> None:
    values = {"stream.tasks": "1", "protocol.evaluate_every": "none"}
    known = api.run("mlp", "split-digits", seeds=1, overrides=values, results=tmp_path, device="cpu").path
    outside = api.run(f"{OUTSIDE}:Means", "split-digits", seeds=1, overrides=values, results=tmp_path, device="cpu").path
    told: list[float] = []
    counts = api.count_flops([known, outside], tmp_path / "flops.json", listen=lambda record, flops: told.append(flops))
    assert counts.flops == {known: told[0]}
    assert list(counts.unknown) == [outside]
    again = api.count_flops([known], tmp_path / "flops.json", listen=lambda record, flops: told.append(flops))
    assert again.flops == counts.flops
    assert len(told) == 1
