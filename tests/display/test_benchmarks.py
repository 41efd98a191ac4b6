"""What is shown of the benchmarks of kernels and runs."""

from __future__ import annotations

import re
import threading

import pytest
from consoles import written

from nlbench.bench.kernels import Progress
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
        listen(Progress("timed", 0, 1, "op-case", "float32", peer="titans-pytorch"))
        assert set(threading.enumerate()) == before
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    assert "2 of 2 checked, last op-case (bfloat16)" in plain
    assert "0 of 1 timed, now op-case (float32), beside titans-pytorch, whose first call may compile for minutes" in " ".join(
        plain.split()
    )
