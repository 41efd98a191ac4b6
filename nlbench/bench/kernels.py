"""Speed of the kernels: checked against the float64 reference, then timed beside plain torch and the machine's limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Final

import torch
from torch import Tensor

from nlbench.kernels.backends import Backend, available_backends
from nlbench.kernels.cases import CASES
from nlbench.kernels.judging import Case, Judgement, judge
from nlbench.kernels.memory_scan.tokens import scan_tokens

GEMM_SIZE: Final = 1024
SAMPLE_SECONDS: Final = 0.02
COPY_BYTES: Final = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What this machine reached in this process: float32 matrix products, and memory read and written by a copy."""

    gemm_gflops: float
    copy_gb_s: float
    threads: int


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a backend's error stayed within the rule on every tensor of a case, and its worst share of what is allowed."""

    op: str
    case: str
    backend: str
    passed: bool
    worst: Judgement


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one implementation on one case: the median and the quartiles of `repeats` runs, taken in turns with the others'.

    implementation  a backend, or "token loop" (plain torch, one token at a time)
    direction       "forward", "forward+backward" or, for ops that change their arguments, "step"
    ratio           how many times longer the plain torch of the same case took; 1 for itself
    gflops, gb_s    achieved, 0 where the case states no such work
    """

    op: str
    case: str
    implementation: str
    direction: str
    seconds: float
    low: float
    high: float
    repeats: int
    ratio: float
    gflops: float
    gb_s: float


@dataclass(frozen=True, slots=True)
class KernelReport:
    """The limits, one check per case and backend, and the timings of the cases whose every check passed."""

    limits: Limits
    checks: tuple[Check, ...]
    timings: tuple[Timing, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def bench_kernels(
    *, ops: Sequence[str] = (), device: str = "cpu", repeats: int = 9, seconds_per_case: float = 2.0, token_loops: bool = False
) -> KernelReport:
    """Check every case of the table on every backend that runs on `device`, then time the large ones in float32.

    ops               only these ops; none: all
    repeats           runs of each implementation, taken in turns; at least 3 even where they exceed `seconds_per_case`
    token_loops       also time memory scans one token at a time in plain torch: seconds a run
    """
    cases = [case for case in CASES if not ops or case.op in ops]
    checks = tuple(check for case in cases for check in check_case(case, device))
    good = {(check.op, check.case, check.backend) for check in checks if check.passed}
    timings = [
        timing
        for case in cases
        if case.timed
        for timing in time_case(
            case,
            [name for name in available_backends(case.op, torch.empty(0, device=device)) if (case.op, case.name, name) in good],
            device=device,
            repeats=repeats,
            seconds=seconds_per_case,
            token_loop=token_loops and case.op == "memory_scan",
        )
    ]
    return KernelReport(measure_limits(device), checks, tuple(timings))


def check_case(case: Case, device: str = "cpu") -> list[Check]:
    """One check per backend; the reference itself is checked at float32 too, so that its speed may be shown."""
    checks = []
    for backend in available_backends(case.op, torch.empty(0, device=device)):
        judgements = list(judge(case, backend, device=device))
        worst = max(judgements, key=lambda each: _share(each.error, each.allowed))
        checks.append(Check(case.op, case.name, backend, all(each.passed for each in judgements), worst))
    return checks


def time_case(
    case: Case, backends: Iterable[Backend], *, device: str, repeats: int, seconds: float, token_loop: bool
) -> list[Timing]:
    """Timings of every backend (and of the token loop) in every direction the case has, in turns."""
    tensors = {name: each.to(device) for name, each in case.inputs(torch.float32).items()}
    timings = []
    for direction in ("forward", "forward+backward") if case.differentiable else ("step",):
        runs: dict[str, Callable[[], object]] = {name: _run(case, tensors, name, direction) for name in backends}
        if token_loop:
            runs["token loop"] = _token_run(case, tensors, direction)
        measured = in_turns(runs, repeats=repeats, seconds=seconds, device=device)
        plain = median(measured["reference"]) if "reference" in measured else float("nan")
        passes = 3.5 if direction == "forward+backward" else 1.0
        for name, times in measured.items():
            low, middle, high = quantiles(times, n=4)
            per_second = passes / middle / 1e9
            rates = plain / middle, case.flops * per_second, case.bytes * per_second
            timings.append(Timing(case.op, case.name, name, direction, middle, low, high, len(times), *rates))
    return timings


def in_turns(runs: dict[str, Callable[[], object]], *, repeats: int, seconds: float, device: str) -> dict[str, list[float]]:
    """Seconds a call of every run: A B A B …, so that a change in the machine's load meets all of them.

    Each sample lasts about `SAMPLE_SECONDS`, as many calls as that takes: short calls would measure the scheduler.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    calls = {}
    for name, run in runs.items():
        run()
        start = time.perf_counter()
        run()
        _synchronise(device)
        calls[name] = max(1, round(SAMPLE_SECONDS / max(time.perf_counter() - start, 1e-6)))
    begin = time.perf_counter()
    while min(map(len, times.values()), default=repeats) < repeats:
        if time.perf_counter() - begin > seconds and all(len(each) >= 3 for each in times.values()):
            break
        for name, run in runs.items():
            _synchronise(device)
            start = time.perf_counter()
            for _ in range(calls[name]):
                run()
            _synchronise(device)
            times[name].append((time.perf_counter() - start) / calls[name])
    return times


def measure_limits(device: str = "cpu") -> Limits:
    """The best of several float32 products of 1024 × 1024 matrices and of several copies of 256 MiB, with torch's threads."""
    a, b = (torch.ones(GEMM_SIZE, GEMM_SIZE, device=device) for _ in range(2))
    source, target = (torch.ones(COPY_BYTES // 4, device=device) for _ in range(2))
    runs: dict[str, Callable[[], object]] = {"gemm": lambda: a @ b, "copy": lambda: target.copy_(source)}
    best = {name: min(times) for name, times in in_turns(runs, repeats=15, seconds=10.0, device=device).items()}
    return Limits(2 * GEMM_SIZE**3 / best["gemm"] / 1e9, 2 * COPY_BYTES / best["copy"] / 1e9, torch.get_num_threads())


def _run(case: Case, tensors: dict[str, Tensor], backend: Backend, direction: str) -> Callable[[], object]:
    gradients = direction == "forward+backward"
    if gradients or not case.differentiable:
        return lambda: case.run(tensors, backend, gradients=gradients)
    return lambda: case.call(tensors, **case.options, backend=backend)


def _token_run(case: Case, tensors: dict[str, Tensor], direction: str) -> Callable[[], object]:
    leaves = {name: each.clone().requires_grad_(direction != "forward") for name, each in tensors.items()}

    def run() -> None:
        results = [each for each in scan_tokens(**leaves, **case.options) if each is not None]  # type: ignore[arg-type]
        if direction != "forward":
            torch.autograd.grad([each.sum() for each in results], list(leaves.values()))

    return run


def _synchronise(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize()


def _share(error: float, allowed: float) -> float:
    """How much of the allowed error is used up; NaN counts as infinite."""
    return error / allowed if error == error else float("inf")
