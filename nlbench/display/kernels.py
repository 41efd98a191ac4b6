"""What the kernels' benchmark found."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from nlbench.display.console import out, write_json

if TYPE_CHECKING:
    from nlbench.bench import KernelReport


def kernels(report: KernelReport, as_json: bool) -> None:
    """Print failed checks, then the timings of the cases that passed, and the machine's limits."""
    if as_json:
        write_json(asdict(report))
        return
    failed = [check for check in report.checks if not check.passed]
    out.print(f"{len(report.checks) - len(failed)} of {len(report.checks)} checks against float64 passed")
    for check in failed:
        out.print(f"[bold]failed[/] {check.op} {check.case} ({check.backend}): {check.worst}")
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("op", "case", "implementation", "direction", "median ms", "quartiles", "times plain torch"):
        grid.add_column(column, justify="right" if column in ("median ms", "quartiles", "times plain torch") else "left")
    for timing in report.timings:
        spread = f"{timing.low * 1e3:.3g} … {timing.high * 1e3:.3g}"
        grid.add_row(
            timing.op,
            timing.case,
            timing.implementation,
            timing.direction,
            f"{timing.seconds * 1e3:.3g}",
            spread,
            f"{timing.ratio:.2f}",
        )
    out.print(grid)
    limits = report.limits
    out.print(
        f"[dim]limits in this process:[/] {limits.gemm_gflops:.0f} GFLOP/s float32, "
        f"{limits.copy_gb_s:.1f} GB/s copy, {limits.threads} threads"
    )
