"""Speed of the kernels: checked against the float64 reference, then timed beside plain torch and the machine's limits."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from nlbench.bench.peers import PeerError, check_peers, peer_runs, peers_of
from nlbench.kernels.backends import Backend, available_backends
from nlbench.kernels.cases import CASES
from nlbench.kernels.judging import Case, Judgement, Tensors, judge
from nlbench.kernels.memory_scan.tokens import scan_tokens

GEMM_SIZE: Final = 1024
SAMPLE_SECONDS: Final = 0.02
COPY_BYTES: Final = 256 * 2**20
MOST_PROCESSES: Final = 16
CHECK_BYTES: Final = 10 * 2**30
"""GPU memory for each process that checks kernels: the largest check's gradients in float64 take most of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What this machine reached in this process: matrix products, and memory read and written by a copy.

    low_gemm_gflops is that of bfloat16 products, measured on a GPU and 0 elsewhere.
    """

    gemm_gflops: float
    copy_gb_s: float
    threads: int
    low_gemm_gflops: float = 0.0

    def seconds(self, flops: float, size: float, dtype: str) -> float:
        """The shortest time that these limits leave for so many operations and bytes."""
        peak = self.low_gemm_gflops if dtype == "bfloat16" and self.low_gemm_gflops else self.gemm_gflops
        return max(flops / peak, size / self.copy_gb_s) / 1e9


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a backend's error stayed within the rule on every tensor of a case, and its worst share of what is allowed."""

    op: str
    case: str
    backend: Backend
    dtype: str
    passed: bool
    worst: Judgement


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one implementation on one case: the median and the quartiles of `repeats` runs, taken in turns with the others'.

    implementation  a backend, or "token loop" (plain torch, one token at a time)
    direction       "forward", "forward+backward" or, for ops that change their arguments, "step"
    dtype           "float32" or "bfloat16"
    ratio           how many times longer the plain torch of the same case took; 1 for itself
    gflops, gb_s    achieved, 0 where the case states no such work
    captured        seconds of its kernels alone, launched as a CUDA graph; None where that cannot be
    roofline        the share of the machine's limits reached: the shortest time they leave over `captured`, else over `seconds`
    error           largest distance of the outputs from float64's, over their largest number: where a peer computes the same
    """

    op: str
    case: str
    implementation: str
    direction: str
    dtype: str
    seconds: float
    low: float
    high: float
    repeats: int
    ratio: float
    gflops: float
    gb_s: float
    captured: float | None
    roofline: float
    error: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A peer that could not run a case, and what it said."""

    op: str
    case: str
    implementation: str
    direction: str
    dtype: str
    reason: str


@dataclass(frozen=True, slots=True)
class KernelReport:
    """The limits, one check per case and backend, timings of the cases whose every check passed, and the peers that refused."""

    limits: Limits
    checks: tuple[Check, ...]
    timings: tuple[Timing, ...]
    refusals: tuple[Refusal, ...] = ()

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the benchmark is: `done` of `total` cases in their precisions, and what has been or is about to be done.

    failed   those checks of the case just checked that failed
    peers    the public kernels that are about to be timed beside the case: their first calls may compile for minutes
    timings, refusals   what the case just timed gave
    """

    stage: Literal["checked", "timing", "timed"]
    done: int
    total: int
    case: str
    dtype: str
    failed: tuple[Check, ...] = ()
    peers: tuple[str, ...] = ()
    timings: tuple[Timing, ...] = ()
    refusals: tuple[Refusal, ...] = ()


Listener = Callable[[Progress], None]


def bench_kernels(
    *,
    ops: Sequence[str] = (),
    device: str = "cpu",
    repeats: int = 9,
    seconds_per_case: float = 2.0,
    token_loops: bool = False,
    peers: bool = False,
    listen: Listener | None = None,
) -> KernelReport:
    """Check every case of the table on every backend that runs on `device`, then time the large ones: in float32, and on a GPU
    in bfloat16 too.

    On a GPU nearly all of the time of the checks is compiling, one kernel after another: there a process for each CPU core, at
    most 16 and no more than the GPU's free memory serves, compiles into Triton's cache and judges, and nothing is timed before
    all have ended. A script that calls this must then keep its own work under `if __name__ == "__main__":`.

    ops               only these ops; none: all
    repeats           runs of each implementation, taken in turns; at least 3 even where they exceed `seconds_per_case`
    token_loops       also time memory scans one token at a time in plain torch: seconds a run
    peers             also time the nearest public kernels that are installed; raises `NlbenchError` if none can run
    listen            called after each check, and before and after each case is timed: what is measured is told as it comes
    """
    if peers:
        check_peers(device)
    kind = torch.device(device).type
    cases = [case for case in CASES if (not ops or case.op in ops) and case.device in ("cpu", kind)]
    dtypes = [torch.float32] if kind == "cpu" else [torch.float32, torch.bfloat16]
    tell = listen or (lambda _: None)
    checks = check_cases(cases, dtypes, device, 1 if kind == "cpu" else _processes(device), tell)
    limits = measure_limits(device)
    timings: list[Timing] = []
    refusals: list[Refusal] = []
    timed = [(case, dtype) for case in cases if case.timed for dtype in dtypes if dtype in case.dtypes]
    for done, (case, dtype) in enumerate(timed):
        key = _key(case, dtype)
        beside = tuple(peer.name for peer in peers_of(case)) if peers else ()
        tell(Progress("timing", done, len(timed), str(case), key[2], peers=beside))
        good = [each.backend for each in checks if each.passed and (each.op, each.case, each.dtype) == key]
        turns = Turns(device, dtype, repeats, seconds_per_case, token_loops and case.op == "memory_scan", peers)
        measured, refused = time_case(case, good, turns, limits)
        tell(Progress("timed", done + 1, len(timed), str(case), key[2], timings=tuple(measured), refusals=tuple(refused)))
        timings += measured
        refusals += refused
    return KernelReport(limits, checks, tuple(timings), tuple(refusals))


def check_cases(
    cases: Sequence[Case], dtypes: Sequence[torch.dtype], device: str, processes: int, listen: Listener
) -> tuple[Check, ...]:
    """The checks of every case in every precision, in their order, made in one process or in several at the same time.

    Raises what a check raises, in whichever process.
    """
    jobs = [(case, device, dtype) for case in cases for dtype in dtypes if dtype in case.dtypes]
    found: dict[int, list[Check]] = {}
    for number, checks in _carried_out(jobs, processes):
        found[number] = checks
        failed = tuple(check for check in checks if not check.passed)
        case, _, dtype = jobs[number]
        listen(Progress("checked", len(found), len(jobs), str(case), _key(case, dtype)[2], failed))
    return tuple(check for number in range(len(jobs)) for check in found[number])


def _processes(device: str) -> int:
    """How many processes check on a GPU at the same time."""
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(MOST_PROCESSES, os.cpu_count() or 1, free // CHECK_BYTES))


def _carried_out(jobs: Sequence[tuple[Case, str, torch.dtype]], processes: int) -> Iterator[tuple[int, list[Check]]]:
    """Each job's number and its checks, as they end."""
    if processes == 1:
        yield from ((number, check_case(*job)) for number, job in enumerate(jobs))
        return
    spawning = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
    with ProcessPoolExecutor(min(processes, len(jobs)), spawning, initializer=_end_with_the_parent) as pool:
        try:
            numbers = {pool.submit(check_case, *job): number for number, job in enumerate(jobs)}
            for future in as_completed(numbers):
                yield numbers[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_the_parent() -> None:
    """Let Ctrl-C, which every process of a terminal gets, end this one at once and without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def check_case(case: Case, device: str = "cpu", dtype: torch.dtype = torch.float32) -> list[Check]:
    """One check per backend; the reference itself is checked at the same precision too, so that its speed may be shown."""
    checks = []
    for backend in available_backends(case.op, torch.empty(0, device=device, dtype=dtype)):
        if backend in case.refused_by:
            continue
        judgements = list(judge(case, backend, dtype=dtype, device=device))
        worst = max(judgements, key=lambda each: _share(each.error, each.allowed))
        checks.append(Check(case.op, case.name, backend, _key(case, dtype)[2], all(each.passed for each in judgements), worst))
    return checks


@dataclass(frozen=True, slots=True)
class Turns:
    """How cases are timed: where, in what, how often and how long, and what else beside the backends."""

    device: str
    dtype: torch.dtype
    repeats: int
    seconds: float
    token_loop: bool
    peers: bool


def time_case(case: Case, backends: Iterable[Backend], turns: Turns, limits: Limits) -> tuple[list[Timing], list[Refusal]]:
    """Timings of every backend, the token loop and peers, in every direction the case has, in turns; and who refused."""
    tensors = case.inputs(turns.dtype, turns.device)
    timings: list[Timing] = []
    refusals: list[Refusal] = []
    key = _key(case, turns.dtype)
    for direction in ("forward", "forward+backward") if case.differentiable else ("step",):
        runs: dict[str, Callable[[], object]] = {name: _run(case, tensors, name, direction) for name in backends}
        if turns.token_loop:
            runs["token loop"] = _token_run(case, tensors, direction)
        for name, run in peer_runs(case, tensors, direction) if turns.peers else ():
            if isinstance(run, str):
                refusals.append(Refusal(case.op, case.name, name, direction, key[2], run))
            else:
                runs[name] = run
        while True:
            try:
                errors = _errors(case, tensors, runs) if direction == "forward" else {}
                measured = in_turns(runs, repeats=turns.repeats, seconds=turns.seconds, device=turns.device)
                break
            except PeerError as error:
                del runs[error.name]
                refusals.append(Refusal(case.op, case.name, error.name, direction, key[2], error.reason))
        plain = median(measured["reference"]) if "reference" in measured else float("nan")
        passes = 3.5 if direction == "forward+backward" else 1.0
        shortest = limits.seconds(case.flops * passes, case.bytes * passes, key[2])
        for name, times in measured.items():
            low, middle, high = quantiles(times, n=4)
            captured = captured_seconds(runs[name]) if name == "triton" and turns.device != "cpu" else None
            rates = plain / middle, case.flops * passes / middle / 1e9, case.bytes * passes / middle / 1e9
            share = shortest / (captured or middle)
            timing = Timing(
                *key[:2], name, direction, key[2], middle, low, high, len(times), *rates, captured, share, errors.get(name)
            )
            timings.append(timing)
    return timings, refusals


def _errors(case: Case, tensors: Tensors, runs: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The error of each run's outputs against the float64 reference, where a peer that computes the same is among them."""
    same = {peer.name for peer in peers_of(case) if peer.same} & runs.keys()
    if not same:
        return {}
    exact = case.run({name: each.double() for name, each in tensors.items()}, "reference", gradients=False)["outputs"]
    found: dict[str, Tensor] = {name: run().transpose(1, 2) for name, run in runs.items() if name in same}  # type: ignore[attr-defined]
    own = {name: run()["outputs"] for name, run in runs.items() if name in get_args(Backend)}  # type: ignore[index]
    return {name: float((each - exact).abs().max() / exact.abs().max()) for name, each in (found | own).items()}


def captured_seconds(run: Callable[[], object], repeats: int = 20) -> float | None:
    """Seconds of the kernels behind a call, its median launched as a CUDA graph; None where it cannot be captured."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            run()
    except RuntimeError:  # something in it waits for the device
        torch.cuda.synchronize()
        return None
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return median(times)


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
    """The best of several products of large square matrices and of several copies, with torch's threads.

    Matrices of 1024 × 1024 and 256 MiB on a CPU, 8 times as wide and as much on a GPU: sizes that fill either.
    """
    scale = 1 if device == "cpu" else 8
    size, copied = GEMM_SIZE * scale, COPY_BYTES * scale
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    source, target = (torch.ones(copied // 4, device=device) for _ in range(2))
    runs: dict[str, Callable[[], object]] = {"gemm": lambda: a @ b, "copy": lambda: target.copy_(source)}
    if scale > 1:
        low_a, low_b = a.bfloat16(), b.bfloat16()
        runs["low gemm"] = lambda: low_a @ low_b
    best = {name: min(times) for name, times in in_turns(runs, repeats=15, seconds=10.0, device=device).items()}
    low = 2 * size**3 / best["low gemm"] / 1e9 if scale > 1 else 0.0
    return Limits(2 * size**3 / best["gemm"] / 1e9, 2 * copied / best["copy"] / 1e9, torch.get_num_threads(), low)


def _key(case: Case, dtype: torch.dtype) -> tuple[str, str, str]:
    return case.op, case.name, str(dtype).removeprefix("torch.")


def _run(case: Case, tensors: dict[str, Tensor], backend: Backend, direction: str) -> Callable[[], object]:
    if direction != "forward":
        return case.prepared(tensors, backend)
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
