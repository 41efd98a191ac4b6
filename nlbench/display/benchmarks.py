"""What the benchmarks of kernels and runs found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from nlbench.display.console import err, lay_out, out, write_json

if TYPE_CHECKING:
    from nlbench.bench.kernels import Check, KernelReport, Limits, Progress, Refusal, Timing
    from nlbench.bench.runs import Case, RunReport


@contextmanager
def benchmarking() -> Iterator[Callable[[Progress], None]]:
    """Give a listener that shows how far the benchmark of kernels is: live while checking on a terminal, else some lines; and
    what is timed beside peers as it comes.
    """
    shown = {"checked": -1, "timing": -1}
    with err.status("starting") as status:

        def show(progress: Progress) -> None:
            for check in progress.failed:
                err.print(_failed(check))
            if progress.stage == "timed":
                for line in _beside(progress):
                    err.print(line, markup=False)
                return
            which, verb = ("last", "checked") if progress.stage == "checked" else ("now", "timed")
            text = f"{progress.done} of {progress.total} {verb}, {which} {progress.case} ({progress.dtype})"
            if progress.peers:
                text += f", beside {', '.join(progress.peers)}: their first calls may compile for minutes"
            tenth = 10 * progress.done // progress.total
            if progress.stage == "timing" or progress.done == progress.total:
                status.stop()  # its thread would take time from what is timed
            elif err.is_terminal:
                status.update(text)
                return
            if tenth > shown[progress.stage] or progress.peers:
                err.print(text, markup=False)
            shown[progress.stage] = tenth

        yield show


def kernels(report: KernelReport, as_json: bool) -> None:
    """Print failed checks, then the timings of the cases that passed, and the machine's limits."""
    if as_json:
        write_json(asdict(report))
        return
    failed = [check for check in report.checks if not check.passed]
    out.print(f"{len(report.checks) - len(failed)} of {len(report.checks)} checks against float64 passed")
    for check in failed:
        out.print(_failed(check))
    on_gpu = report.limits.low_gemm_gflops > 0
    more = ("kernels ms", "TFLOP/s", "GB/s", "of roofline") if on_gpu else ()
    judged = any(timing.error is not None for timing in report.timings)
    more = (*(("error",) if judged else ()), *more)
    grid = _grid("op", "case", "implementation", "direction", "dtype", "median ms", "quartiles", "times plain torch", *more)
    for timing in report.timings:
        spread = f"{timing.low * 1e3:.3g} … {timing.high * 1e3:.3g}"
        grid.add_row(
            timing.op,
            timing.case,
            timing.implementation,
            timing.direction,
            timing.dtype,
            f"{timing.seconds * 1e3:.3g}",
            spread,
            f"{timing.ratio:.2f}",
            *([f"{timing.error:.1e}" if timing.error is not None else ""] if judged else []),
            *(_achieved(timing) if on_gpu else ()),
        )
    lay_out(out, grid)
    for refusal in report.refusals:
        out.print(_refused(refusal), markup=False)
    _limits(report.limits)


def _beside(progress: Progress) -> Iterator[str]:
    """A line for every peer of a case just timed: how many times as long as ours it took, or why it could not."""
    ours = {each.direction: each for each in progress.timings if each.implementation == "triton"}
    for each in progress.timings:
        if each.implementation in ("reference", "numba", "triton", "token loop") or each.direction not in ours:
            continue
        own = ours[each.direction].seconds
        yield (
            f"  {each.direction}: ours {own * 1e3:.3g} ms, {each.implementation} {each.seconds * 1e3:.3g} ms, "
            f"{each.seconds / own:.3g} times as long"
            + (f", errors {ours[each.direction].error:.1e} and {each.error:.1e}" if each.error is not None else "")
        )
    for refusal in progress.refusals:
        yield f"  {_refused(refusal)}"


def _refused(refusal: Refusal) -> str:
    return f"{refusal.implementation} cannot ({refusal.case}, {refusal.direction}, {refusal.dtype}): {refusal.reason}"


def _failed(check: Check) -> str:
    return f"[bold]failed[/] {check.op} {check.case} ({check.backend}, {check.dtype}): {check.worst}"


def _achieved(timing: Timing) -> tuple[str, str, str, str]:
    """The time of the kernels alone, the rates, and the share of what the machine's limits allow."""
    captured = "" if timing.captured is None else f"{timing.captured * 1e3:.3g}"
    return captured, f"{timing.gflops / 1e3:.3g}", f"{timing.gb_s:.3g}", f"{timing.roofline:.0%}"


def timed(line: str) -> None:
    """Print what was timed just now."""
    err.print(line, markup=False, highlight=False)


def runs(report: RunReport, as_json: bool) -> None:
    """Print whether runs and loop learned the same, then their times, whole commands, and the machine's limits."""
    if as_json:
        write_json(asdict(report))
        return
    for check in report.checks:
        verdict = "same accuracies as the loop" if check.passed else "[bold]other accuracies than the loop[/]"
        worst = f"worst cell {check.worst_samples:.0f} test samples, mean {check.mean_difference:.4f}"
        out.print(f"{_case(check.case)}: {verdict} ({worst})")
    grid = _grid("run", "implementation", "train s", "range", "µs a step and seed", "samples/s", "evaluate s", "times the loop")
    for timing in report.timings:
        grid.add_row(
            _case(timing.case),
            timing.implementation,
            f"{timing.train:.3g}",
            f"{timing.train_low:.3g} … {timing.train_high:.3g}",
            f"{timing.step_us:.4g}",
            f"{timing.samples:,.0f}",
            f"{timing.evaluate:.3g}",
            "" if timing.ratio is None else f"{timing.ratio:.2f}",
        )
    lay_out(out, grid)
    if report.commands:
        rivals = any(command.ratio is not None for command in report.commands)
        more = ("times as long in Avalanche", "of the processor", "of training") if rivals else ()
        grid = _grid("command", "seconds", "range", "without torch's import", "of the processor", "of training", *more)
        for command in report.commands:
            spread = f"{command.low:.2f} … {command.high:.2f}"
            measured = (command.seconds, command.beyond_torch, command.processor, command.training)
            seconds, *others = [
                "" if each is None else f"{each:.2f}" for each in (*measured, *(command.ratio or (None,) * len(more)))
            ]
            grid.add_row(command.command, seconds, spread, *others)
        lay_out(out, grid)
    _limits(report.limits)


def _case(case: Case) -> str:
    seeds = f"{case.seeds} seed{'s' if case.seeds > 1 else ''}"
    return (
        f"{case.model} {case.stream}, {seeds}"
        + (f", batch {case.batch}" if case.batch else "")
        + ("" if case.within else ", at boundaries")
    )


def _grid(first: str, *columns: str) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column(first)
    for column in columns:
        grid.add_column(column, justify="left" if column in ("case", "implementation", "direction", "dtype") else "right")
    return grid


def _limits(limits: Limits) -> None:
    out.print(
        f"[dim]limits in this process:[/] {limits.gemm_gflops:.0f} GFLOP/s float32, "
        + (f"{limits.low_gemm_gflops:.0f} GFLOP/s bfloat16, " if limits.low_gemm_gflops else "")
        + f"{limits.copy_gb_s:.1f} GB/s copy, {limits.threads} threads"
    )
