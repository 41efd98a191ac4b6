"""Measure what docs/performance.md and docs/notes/performance.md show between marks, on this machine, and write it there.

    python tools/make_performance.py                    all parts, about twenty minutes
    python tools/make_performance.py kernels growth     these parts

MNIST is looked for as `nlbench run` does. Keep the machine quiet meanwhile: every ratio is taken in turns, but no turn is immune.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from nlbench import api
from nlbench.launching import running_half
from nlbench.plan import Machine
from nlbench.records import environment

if TYPE_CHECKING:
    from nlbench.bench.runs import Case

DOCS = Path(__file__).parents[1] / "docs"
PAGE, NOTES = DOCS / "performance.md", DOCS / "notes" / "performance.md"
FIGURE = DOCS / "performance.svg"
REPEATS = {"split-mnist": 3, "permuted-mnist": 2, "split-digits": 9}
KERNELS = Machine(device="cpu", backend="numba")
PROFILE = """
import functools, json, sys, time
start = time.perf_counter()
import nlbench.api.running, nlbench.cli, nlbench.display.records, nlbench.display.running
nlbench.launching.running_half()
import nlbench.kernels.mlp_step._numba
from nlbench.learners.mlp import Mlp
spent = {"imports": time.perf_counter() - start, "observe": 0.0, "predict": 0.0, "permute_inputs": 0.0}

def timed(name, part):
    inner = getattr(Mlp, name)
    @functools.wraps(inner)
    def call(self, *arguments):
        clock = time.perf_counter()
        try:
            return inner(self, *arguments)
        finally:
            spent[part] += time.perf_counter() - clock
    setattr(Mlp, name, call)

for name in ("observe", "predict", "permute_inputs"):
    timed(name, name)
timed("observe_batches", "observe")
nlbench.api.run("mlp", "permuted-mnist", seeds="0,", results=sys.argv[1], device="cpu")
spent["everything"] = time.perf_counter() - start
print(json.dumps(spent))
"""


def machine() -> str:
    """What ran this."""
    facts = environment.describe(Path("results"))
    versions = ", ".join(f"{name} {facts['packages'][name]}" for name in ("torch", "numba", "numpy") if name in facts["packages"])
    memory = f"{facts['memory_bytes'] / 2**30:.0f} GiB"
    return f"{facts['cpu']}, {facts['cores']} cores, {memory}; {facts['os']}; Python {facts['python']}, {versions}."


def timed_runs() -> str:
    """Training of whole runs beside the tight loop."""
    lines = ["| run | training s | the loop, one seed, s | times the loop |", "|---|---|---|---|"]
    for stream, repeats in REPEATS.items():
        report = api.bench_runs([stream], repeats=repeats, commands=False)
        if not report.passed:
            raise SystemExit(f"{stream}: the loop learned something else than the run; nothing was written.")
        loops = {each.case: each.train for each in report.timings if each.implementation != "nlbench"}
        for timing in (each for each in report.timings if each.implementation == "nlbench"):
            loop, times = f"{loops[timing.case]:.3g}" if timing.ratio else "", f"{timing.ratio:.2f}" if timing.ratio else ""
            lines.append(f"| {named(timing.case)} | {timing.train:.3g} | {loop} | {times} |")
    return "\n".join(lines)


def named(case: Case) -> str:
    """A timed run in words."""
    parts = [
        f"{case.model} on {case.stream}",
        f"{case.seeds} seed{'s' * (case.seeds > 1)}",
        *([f"batch {case.batch}"] if case.batch else []),
        *([] if case.within else ["measured at boundaries only"]),
    ]
    return ", ".join(parts)


def timed_kernels() -> str:
    """Of each op the case and direction that take plain torch longest."""
    report = api.bench_kernels()
    if not report.passed:
        raise SystemExit("Not every kernel agrees with float64: see `nlbench bench kernels`. Nothing was written.")
    lines = ["| op | case | direction | plain torch ms | numba ms | times plain torch |", "|---|---|---|---|---|---|"]
    plain = [each for each in report.timings if each.implementation == "reference"]
    for op in dict.fromkeys(each.op for each in plain):
        slow = max((each for each in plain if each.op == op), key=lambda each: each.seconds)
        key = (op, slow.case, slow.direction, "numba")
        (own,) = (each for each in report.timings if (each.op, each.case, each.direction, each.implementation) == key)
        lines.append(
            f"| {op} | {slow.case} | {slow.direction} | {1e3 * slow.seconds:.3g} | {1e3 * own.seconds:.3g} | {own.ratio:.2f} |"
        )
    return "\n".join(lines)


def steps() -> str:
    """A step of hope beside its products and plain learners."""
    import measure_steps

    return measure_steps.table()


def best(run: Callable[[], object], seconds: float = 0.5) -> float:
    """The shortest of the calls that fit some seconds, at least three."""
    run()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        clock = time.perf_counter()
        run()
        times.append(time.perf_counter() - clock)
    return min(times)


def growth() -> str:
    """Seconds as one size grows, the others fixed: a table, and the figure."""
    import torch

    from nlbench.bench import runs
    from nlbench.kernels.memory_scan import memory_scan
    from nlbench.plan import resolve

    def trained(stream: str, seeds: int, **overrides: str) -> float:
        values = {key.replace("__", "."): value for key, value in overrides.items()}
        plan = resolve("mlp", stream, seeds=tuple(range(seeds)), overrides={"batch": "32", **values})
        return min(runs.run(plan, KERNELS).train for _ in range(5))

    def scanned(length: int, chunk: int) -> float:
        draw = torch.Generator().manual_seed(0)
        keys, queries, values = (torch.randn(2, 4, length, 32, generator=draw) / 32**0.5 for _ in range(3))
        gates = torch.full((2, 4, length), 0.1), torch.full((2, 4, length), 0.99)
        memory = torch.zeros(2, 4, 32, 32)
        return best(lambda: memory_scan(memory, keys, values, *gates, queries=queries, chunk=chunk))

    series: dict[str, dict[int, float]] = {
        "seeds": {n: trained("split-digits", n) for n in (1, 2, 4, 8, 16, 32)},
        "width": {n: trained("split-digits", 4, learner__hidden=f"[{n}]") for n in (32, 64, 128, 256, 512, 1024)},
        "tasks": {n: trained("permuted-digits", 4, stream__tasks=str(n)) for n in (1, 2, 4, 8, 16)},
        "tokens": {n: scanned(n, 32) for n in (256, 512, 1024, 2048, 4096, 8192)},
        "chunk": {n: scanned(2048, n) for n in (4, 8, 16, 32, 64, 128)},
    }
    draw_figure(series)
    lines = ["| what grows | sizes | milliseconds | slope |", "|---|---|---|---|"]
    for name, times in series.items():
        sizes, seconds = list(times), list(times.values())
        milliseconds = ", ".join(f"{1e3 * each:.3g}" for each in seconds)
        lines.append(f"| {name} | {', '.join(map(str, sizes))} | {milliseconds} | {slope(sizes, seconds):.2f} |")
    return "\n".join(lines)


def slope(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The exponent of the power law between the two largest sizes."""
    from math import log

    return log(seconds[-1] / seconds[-2]) / log(sizes[-1] / sizes[-2])


def draw_figure(series: dict[str, dict[int, float]]) -> None:
    """One line a series, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context({"svg.hashsalt": "nlbench", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(6.5, 4))
        for (name, times), mark in zip(series.items(), "os^Dv", strict=True):
            axes.loglog(list(times), [1e3 * each for each in times.values()], marker=mark, markersize=4, label=name)
        axes.set_xlabel("size")
        axes.set_ylabel("milliseconds")
        axes.grid(True, which="both", linewidth=0.3)
        axes.legend(frameon=False)
        figure.tight_layout()
        figure.savefig(FIGURE, metadata={"Date": None, "Creator": None})


def profile() -> str:
    """Where the time of permuted-mnist goes, one seed."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run([sys.executable, "-c", PROFILE, folder], capture_output=True, text=True, check=True)
    spent = json.loads(result.stdout.splitlines()[-1])
    whole = spent.pop("everything")
    spent["rest: data, batches, bookkeeping, record"] = whole - sum(spent.values())
    rows = [f"| {name} | {seconds:.2f} | {seconds / whole:.0%} |" for name, seconds in spent.items()]
    return "\n".join(["| part | seconds | share |", "|---|---|---|", *rows, f"| everything | {whole:.2f} | |"])


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """A process that keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def neighbour() -> str:
    """How much slower every run is beside a busy process of the same priority, this one's own included."""
    from nlbench.bench import runs

    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    lines = ["| run | train s alone | beside a busy process | times |", "|---|---|---|---|"]
    for case in (case for case in runs.CASES if case.stream != "permuted-mnist"):
        plan, alone, beside = case.plan(), [], []
        runs.run(plan, KERNELS)
        for _ in range(3):
            alone.append(runs.run(plan, KERNELS).train)
            with busy_neighbour():
                time.sleep(0.5)
                beside.append(runs.run(plan, KERNELS).train)
        quiet, crowded = median(alone), median(beside)
        name = f"{case.model} {case.stream}, {case.seeds} seeds" + ("" if case.within else ", at boundaries")
        lines.append(f"| {name} | {quiet:.3g} | {crowded:.3g} | {crowded / quiet:.2f} |")
    return "\n".join(lines)


def token_loops() -> str:
    """The memory scan in chunks of 64 beside plain torch, token by token and in chunks."""
    import torch

    from nlbench.bench import kernels
    from nlbench.kernels.cases import CASES

    lines = ["| case | direction | kernel ms | token loop, times | chunked torch, times |", "|---|---|---|---|---|"]
    turns, limits = kernels.Turns("cpu", torch.float32, 3, 1.0, token_loop=True, peers=False), kernels.measure_limits()
    timed = (case for case in CASES if case.op == "memory_scan" and case.timed and case.device == "cpu")
    for case in (case for case in timed if case.options["chunk"] == 64):
        timings, _ = kernels.time_case(case, ["reference", "numba"], turns, limits)
        seconds = {(each.direction, each.implementation): each.seconds for each in timings}
        for direction in ("forward", "forward+backward"):
            own, loop, chunked = (seconds[direction, name] for name in ("numba", "token loop", "reference"))
            lines.append(f"| {case.name} | {direction} | {1e3 * own:.3g} | {loop / own:.0f} | {chunked / own:.1f} |")
    return "\n".join(lines)


PARTS: dict[str, tuple[Path, Callable[[], str]]] = {
    "machine": (PAGE, machine),
    "runs": (PAGE, timed_runs),
    "kernels": (PAGE, timed_kernels),
    "steps": (PAGE, steps),
    "growth": (NOTES, growth),
    "token-loops": (NOTES, token_loops),
    "profile": (NOTES, profile),
    "neighbour": (NOTES, neighbour),
}


def write(name: str) -> None:
    """Measure a part and put it between its marks in its page."""
    page, measure = PARTS[name]
    text = measure()
    before, _, after = re.split(rf"(?<=<!-- {name} -->\n)(.*)(?=<!-- /{name} -->)", page.read_text("utf-8"), flags=re.S)
    page.write_text(f"{before}{text}\n{after}", encoding="utf-8")


if __name__ == "__main__":
    running_half()
    for part in sys.argv[1:] or list(PARTS):
        write(part)
