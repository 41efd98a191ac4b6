"""Killed at any moment, a run is not lost, and what it records at last is to the bit what it would have been."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_twenty_kills_lose_nothing() -> None:
    """One each of every shipped learner and of six as users write them, at least."""
    command = [sys.executable, str(ROOT / "tools" / "kill_runs.py"), "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'kills': 20" in done.stdout
