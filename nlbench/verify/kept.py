"""Verdicts as plain values: what `--format json` prints, and what a page is made of again without a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import isnan, nan
from typing import Any

from nlbench.comparison.statistics import Interval
from nlbench.verify.claims import Claim
from nlbench.verify.model import Finding
from nlbench.verify.running import Judged, Measured


def facts(each: Judged) -> dict[str, Any]:
    """Return a claim's verdict, and all that it stands on, as values of JSON: what is not finite is null."""
    return {
        "claim": each.name,
        "title": each.claim.title,
        "digest": each.claim.digest,
        "command": each.command,
        "reduced": each.reduced,
        "verdict": each.verdict,
        "findings": [{name: _finite(value) for name, value in asdict(finding).items()} for finding in each.findings],
        "cells": {
            name: {
                "model": cell.model,
                "stream": cell.stream,
                "record": cell.record,
                "seconds": cell.seconds,
                "values": {
                    metric: {part: _finite(number) for part, number in value._asdict().items()}
                    for metric, value in cell.values.items()
                },
            }
            for name, cell in each.cells.items()
        },
    }


def judged_of(said: Mapping[str, Any], claim: Claim) -> Judged:
    """Return the verdict on a claim that `facts` wrote down."""
    findings = tuple(Finding(**{**finding, "expected": tuple(finding["expected"])}) for finding in said["findings"])
    cells = {
        name: Measured(**{**cell, "values": {metric: _interval(value) for metric, value in cell["values"].items()}})
        for name, cell in said["cells"].items()
    }
    return Judged(said["claim"], claim, said["reduced"], findings, cells, said["command"])


def _finite(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return None if isinstance(value, float) and isnan(value) else value


def _interval(said: Mapping[str, Any]) -> Interval:
    mean, low, high, sd = (nan if said[part] is None else said[part] for part in ("mean", "low", "high", "sd"))
    return Interval(mean, low, high, sd, said["n"])
