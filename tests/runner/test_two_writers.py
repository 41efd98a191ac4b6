"""Two runs that write to one folder while it is read: nothing is lost and nothing is told wrongly."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import nlbench

WRITER = """
import sys, time, warnings
import nlbench
warnings.simplefilter("ignore")
results, first, ends = sys.argv[1], int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
rounds = 0
while time.monotonic() < ends or rounds < 2:
    done = nlbench.run("mlp", "split-digits", seeds=[first + rounds % 3], results=results, device="cpu", force=rounds % 5 == 4)
    assert first + rounds % 3 in done.record.seeds, done.record.seeds
    rounds += 1
"""


SECONDS = 30


@pytest.mark.slow
def test_two_writers_and_a_reader_agree(tmp_path: Path) -> None:
    """Each writer adds three seeds in turn and now and then makes the record anew, from its own seed alone."""
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), first, str(SECONDS)], stderr=subprocess.PIPE, text=True)
        for first in ("0", "3")
    ]
    values: dict[int, dict[str, float]] = {}
    reads = 0
    while any(writer.poll() is None for writer in started):
        if not list(tmp_path.glob("*.parquet")):
            continue
        (record,) = nlbench.load(tmp_path)
        for seed, value in record.metric("average_accuracy").items():
            assert values.setdefault(seed, value) == value
        reads += 1
        time.sleep(0.01)
    for writer in started:
        _, said = writer.communicate()
        assert writer.returncode == 0, said
    assert reads > 10
    assert len(values) >= 2
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [record.path.name]
