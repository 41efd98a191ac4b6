"""The kernel benchmark checks before it times, and times nothing that failed."""

from dataclasses import replace

import pytest
import torch

from nlbench.bench import kernels as bench
from nlbench.bench import peers
from nlbench.bench.kernels import bench_kernels, check_case, in_turns
from nlbench.errors import NlbenchError
from nlbench.kernels.cases import CASES
from nlbench.kernels.judging import Case


def small_case() -> Case:
    case = next(case for case in CASES if str(case) == "newton_schulz-wide")
    return replace(case, flops=1e6)


def test_every_timing_has_a_passed_check_and_a_plain_torch_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CASES", (small_case(),))
    monkeypatch.setattr(bench, "COPY_BYTES", 2**20)
    report = bench_kernels(repeats=3, seconds_per_case=0.1)
    assert report.passed
    assert report.limits.gemm_gflops > 0
    assert report.limits.copy_gb_s > 0
    assert {timing.direction for timing in report.timings} == {"forward", "forward+backward"}
    for timing in report.timings:
        assert 0 < timing.low <= timing.seconds <= timing.high
        assert timing.gflops > 0
        assert ("newton_schulz", "wide", timing.implementation) in {(each.op, each.case, each.backend) for each in report.checks}
    plain = [timing.ratio for timing in report.timings if timing.implementation == "reference"]
    assert plain == [1.0, 1.0]


def test_a_wrong_kernel_prints_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = small_case()

    def wrong(tensors: dict[str, torch.Tensor], *, backend: str, **options: object) -> dict[str, torch.Tensor]:
        found = case.call(tensors, backend=backend, **options)
        return found if backend == "reference" else {name: each * 1.001 for name, each in found.items()}

    monkeypatch.setattr(bench, "CASES", (replace(case, call=wrong),))
    monkeypatch.setattr(bench, "COPY_BYTES", 2**20)
    report = bench_kernels(repeats=3, seconds_per_case=0.1)
    assert not report.passed
    assert {timing.implementation for timing in report.timings} == {"reference"}


def test_a_kernel_that_returns_nan_fails_its_check() -> None:
    case = small_case()

    def diverged(tensors: dict[str, torch.Tensor], *, backend: str, **options: object) -> dict[str, torch.Tensor]:
        found = case.call(tensors, backend=backend, **options)
        return found if backend == "reference" else {name: each * float("nan") for name, each in found.items()}

    checks = {check.backend: check.passed for check in check_case(replace(case, call=diverged))}
    assert checks.pop("reference")
    assert not any(checks.values())


def test_runs_are_taken_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    runs = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    monkeypatch.setattr(bench, "SAMPLE_SECONDS", 0.0)
    times = in_turns(runs, repeats=3, seconds=1.0, device="cpu")
    assert order == ["a", "a", "b", "b", "a", "b", "a", "b", "a", "b"]
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3}


def test_peers_that_cannot_run_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NlbenchError, match="on a GPU"):
        bench_kernels(peers=True)
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    with pytest.raises(NlbenchError, match=r"(?s)no peer is installed.*pip install flash-linear-attention titans-pytorch"):
        peers.check_peers("cuda")
