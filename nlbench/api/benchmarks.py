"""What is timed: the kernels, and whole runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nlbench.errors import UnknownNameError
from nlbench.launching import running_half

if TYPE_CHECKING:
    from nlbench.bench.kernels import KernelReport, Progress
    from nlbench.bench.runs import RunReport


def bench_kernels(
    ops: Sequence[str] = (),
    device: str = "cpu",
    *,
    peers: bool = False,
    listen: Callable[[Progress], None] | None = None,
) -> KernelReport:
    """Return checks against float64 and timings of the kernel ops, all by default; see
    `nlbench.bench.kernels.bench_kernels`.
    """
    device = str(running_half().torch_device(device))
    from nlbench.bench import kernels
    from nlbench.kernels.cases import CASES

    known = sorted({case.op for case in CASES})
    for op in ops:
        if op not in known:
            raise UnknownNameError("kernel op", op, known)
    return kernels.bench_kernels(ops=ops, device=device, peers=peers, listen=listen)


def bench_runs(
    streams: Sequence[str] = (),
    *,
    repeats: int = 5,
    commands: bool = True,
    methods: bool = False,
    data: str | Path | None = None,
    listen: Callable[[str], None] = lambda line: None,
) -> RunReport:
    """Return timings of whole runs beside a tight hand-written torch loop that learns the same; see
    `nlbench.bench.runs.bench_runs`.
    """
    running_half()
    from nlbench.bench import runs

    known = sorted({case.stream for case in runs.CASES})
    for stream in streams:
        if stream not in known:
            raise UnknownNameError("timed stream", stream, known)
    folder = Path(data) if data is not None else None
    return runs.bench_runs(streams=streams, repeats=repeats, commands=commands, methods=methods, data=folder, listen=listen)
