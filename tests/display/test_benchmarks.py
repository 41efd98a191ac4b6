"""What is shown of the benchmarks of kernels and runs."""

from __future__ import annotations

import re
import threading

import pytest
from consoles import written

from nlbench.bench.kernels import Progress, Refusal, Timing
from nlbench.display import benchmarks


def test_nothing_runs_beside_what_the_benchmark_of_kernels_times(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    with (
        written(monkeypatch, benchmarks, "err", terminal=True) as text,
        benchmarks.benchmarking() as listen,
    ):
        listen(Progress("checked", 1, 2, "op-case", "float32"))
        (spinner,) = set(threading.enumerate()) - before
        listen(Progress("checked", 2, 2, "op-case", "bfloat16"))
        spinner.join(2.0)
        assert not spinner.is_alive()
        listen(Progress("timing", 0, 1, "op-case", "float32", peers=("titans-pytorch", "another")))
        assert set(threading.enumerate()) <= before  # a thread of an earlier test may have ended
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    assert "2 of 2 checked, last op-case (bfloat16)" in plain
    timed = "0 of 1 timed, now op-case (float32), beside titans-pytorch, another: their first calls may compile for minutes"
    assert timed in " ".join(plain.split())


def test_peers_are_told_as_they_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def timing(name: str, seconds: float) -> Timing:
        return Timing("scan", "case", name, "forward", "float32", seconds, seconds, seconds, 3, 1.0, 0.0, 0.0, None, 0.5)

    timings = (timing("reference", 0.5), timing("triton", 0.002), timing("a peer", 0.024))
    refused = Refusal("scan", "case", "another", "forward", "float32", "AssertionError: only bfloat16")
    with written(monkeypatch, benchmarks, "err", terminal=False) as text, benchmarks.benchmarking() as listen:
        listen(Progress("timed", 1, 2, "case", "float32", timings=timings, refusals=(refused,)))
    plain = " ".join(text.getvalue().split())
    assert "forward: ours 2 ms, a peer 24 ms, 12 times as long" in plain
    assert "another cannot (case, forward, float32): AssertionError: only bfloat16" in plain
