"""Verdicts written down and read again."""

from __future__ import annotations

import json
from math import nan

from nlbench.comparison.statistics import Interval
from nlbench.verify import Finding, Judged, claim_of, facts, judged_of
from nlbench.verify.page import page
from nlbench.verify.running import Measured

CELLS = {name: {"model": "mlp", "stream": "split-digits"} for name in ("one", "other")}
CLAIM = claim_of(
    {
        "title": "A title",
        "statement": "One is above the other.",
        "source": {"paper": "P"},
        "cells": CELLS,
        "holds": [
            {"kind": "order", "above": "one", "below": "other", "by": 0.1},
            {"kind": "value", "of": "one", "equals": 0.5, "band": 0.1},
        ],
    },
    "test.toml",
)
FINDINGS = (
    Finding("one is above other", "holds", "r", 0.3, 0.2, 0.4, (0.1,), 0.002, 10),
    Finding("one is 0.5 ± 0.1", "not comparable", "every seed diverged"),
)


def test_what_is_written_down_makes_the_same_page_again() -> None:
    cells = {
        "one": Measured("mlp", "split-digits", "a.parquet", 1.5, {"average_accuracy": Interval(0.5, 0.4, 0.6, 0.1, 10)}),
        "other": Measured("mlp", "split-digits", "b.parquet", None, {"average_accuracy": Interval(0.2, nan, nan, nan, 1)}),
    }
    before = Judged("first", CLAIM, False, FINDINGS, cells, "nlbench verify ./first.toml --seeds 8")
    said = json.loads(json.dumps(facts(before), allow_nan=False))
    assert (said["digest"], said["verdict"]) == (CLAIM.digest, "not comparable")
    after = judged_of(said, CLAIM)
    assert (after.name, after.reduced, after.findings, after.verdict) == ("first", False, FINDINGS, "not comparable")
    assert page([after]) == page([before])
    assert "nlbench verify ./first.toml --seeds 8" in page([after])
    assert ".2000" in page([after])
