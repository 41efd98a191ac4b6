"""Killed at any moment, a run is not lost, and what it records at last is to the bit what it would have been."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


CHOSEN = ("Pairs", "Means", "Buffered", "Scheduled", "Growing", "Reservoir", "cms", "er", "mlp")
"""Six learners as users write them, each with another kind of state, and shipped ones, two of them in pixel orders too."""


@pytest.mark.slow
def test_twenty_kills_lose_nothing() -> None:
    options = ["--seconds", "0.5", "--processes", "2", "--only", *CHOSEN]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "kill_runs.py"), "20", *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'kills': 20" in done.stdout
    assert "'within': " in done.stdout
    assert "11 learners, " in done.stdout
