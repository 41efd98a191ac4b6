"""The kernel benchmark checks before it times, and times nothing that failed."""

import os
import pickle
from dataclasses import replace

import pytest
import torch

from nlbench import cli
from nlbench.bench import kernels as bench
from nlbench.bench import peers
from nlbench.bench.kernels import Progress, bench_kernels, check_case, check_cases, in_turns
from nlbench.errors import BackendError, NlbenchError
from nlbench.kernels.cases import CASES
from nlbench.kernels.judging import Case


def small_case() -> Case:
    case = next(case for case in CASES if str(case) == "newton_schulz-wide")
    return replace(case, flops=1e6)


def test_a_backend_that_refuses_a_case_is_not_checked_on_it() -> None:
    refused = replace(small_case(), refused_by=("numba",))
    assert [check.backend for check in check_case(refused)] == ["reference"]


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


def wrong(tensors: dict[str, torch.Tensor], *, backend: str, **options: object) -> dict[str, torch.Tensor]:
    found = small_case().call(tensors, backend=backend, **options)
    return found if backend == "reference" else {name: each * 1.001 for name, each in found.items()}


def refusing(tensors: dict[str, torch.Tensor], **options: object) -> dict[str, torch.Tensor]:
    raise BackendError(f"process {os.getpid()} refuses.", "Ask another.")


def test_a_wrong_kernel_prints_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CASES", (replace(small_case(), call=wrong),))
    monkeypatch.setattr(bench, "COPY_BYTES", 2**20)
    report = bench_kernels(repeats=3, seconds_per_case=0.1)
    assert not report.passed
    assert {timing.implementation for timing in report.timings} == {"reference"}


def test_processes_check_what_one_process_checks_and_tell_how_far_they_are() -> None:
    cases = [replace(small_case(), name="wrong", call=wrong), small_case()]
    told: list[Progress] = []
    found = check_cases(cases, [torch.float32, torch.bfloat16], "cpu", 2, told.append)
    assert found == check_cases(cases, [torch.float32, torch.bfloat16], "cpu", 1, lambda _: None)
    assert {(check.case, check.backend, check.dtype) for check in found if not check.passed} == {("wrong", "numba", "float32")}
    assert list(dict.fromkeys((check.case, check.dtype) for check in found)) == [
        ("wrong", "float32"),
        ("wrong", "bfloat16"),
        ("wide", "float32"),
        ("wide", "bfloat16"),
    ]
    assert [(each.stage, each.done, each.total) for each in told] == [("checked", n, 4) for n in range(1, 5)]
    assert [(each.case, each.dtype) for each in told if each.failed] == [("newton_schulz-wrong", "float32")]


def test_what_a_process_raises_is_raised_here() -> None:
    cases = [replace(small_case(), name=f"{n}", call=refusing) for n in range(3)]
    with pytest.raises(BackendError, match=rf"process (?!{os.getpid()})\d+ refuses\. Ask another\."):
        check_cases(cases, [torch.float32], "cpu", 2, lambda _: None)


def test_every_case_can_be_sent_to_a_process() -> None:
    assert [str(case) for case in pickle.loads(pickle.dumps(CASES))] == [str(case) for case in CASES]


def test_the_command_names_what_failed_and_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "CASES", (replace(small_case(), call=wrong),))
    monkeypatch.setattr(bench, "COPY_BYTES", 2**20)
    with pytest.raises(SystemExit) as exit_:
        cli.app(["bench", "kernels", "--op", "newton_schulz"])
    assert exit_.value.code == 1
    told = capsys.readouterr().err
    assert "failed newton_schulz wide (numba, float32)" in told
    assert "1 of 1 checked, last newton_schulz-wide (float32)" in told
    assert "0 of 1 timed, now newton_schulz-wide (float32)" in told


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
