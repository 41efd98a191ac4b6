"""Measure what a sweep costs beside its runs: `python tools/measure_scale.py`.

Tiny cells, a small perceptron on the digits, are run by workers that are warm: the clock starts after ten for each. A cell costs
its engine, (wall x workers - seconds of it in which workers say that they ran cells) / cells, and the fixed part of its run: what
a process takes for it before the first task and after the last: the stream, the learner, locks and the record, measured in this
process. `--engine ray` measures a Ray cluster of this machine.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from nlbench import api
from nlbench.plan import Plan
from nlbench.records import Row

FEW = 60
WARM = 10
"""Cells for each worker before the clock starts."""


def plans(count: int) -> list[Plan]:
    """Return plans that differ in their rate."""
    rates = [round(0.01 + 1e-5 * number, 6) for number in range(count)]
    facts = {"protocol.evaluate": "final", "protocol.evaluate_every": 10_000_000, "learner.rate": rates}
    table = {"models": ["mlp"], "streams": ["split-digits"], "seeds": 1, "set": facts}
    return [point.plan for point in api.grid(table).points()]


def measured(engine_name: str, cells: int, workers: int | None, results: Path) -> str:
    """Return a line of figures, times in milliseconds a cell."""
    engine = api.engine(engine_name, workers=workers, device="cpu")
    slots = engine.slots
    clock = perf_counter()
    before = WARM * slots
    grid = plans(before + cells)
    planning = (perf_counter() - clock) / len(grid)
    ended: list[tuple[float, float]] = []
    began, cpu = perf_counter(), process_time()
    for outcome in api.sweep(grid, results, engine=engine, device="cpu"):
        assert outcome.state == "run", outcome.error
        ended.append((perf_counter(), outcome.seconds))
    cpu = process_time() - cpu
    first, last = ended[before - 1][0], ended[-1][0]
    work = [min(seconds, end - first) for end, seconds in ended[before:]]  # of one that began earlier, what is in this time
    figures = {
        "planning": planning,
        "engine": ((last - first) * slots - sum(work)) / cells,
        "CPU of this process": cpu / len(grid),
        "median cell": median(work),
    }
    took = f"warm after {first - began:.1f} s, then {last - first:.1f} s"
    load = f"load {os.getloadavg()[0]:.1f}"
    return f"{engine_name}, {slots} workers, {cells} cells, {load}: {took}; ms a cell: {_told(figures)}\n"


def fixed_part(results: Path) -> str:
    """Return a line: what of a run in a warm process is not its protocol's, the median of some, as time and as CPU time."""
    from nlbench import sources
    from nlbench.protocol import Meeting

    spent: list[tuple[float, float]] = []
    steps: Callable[[Meeting], Iterator[list[Row]]] = Meeting.steps

    def timed(meeting: Meeting) -> Iterator[list[Row]]:
        wall, cpu = perf_counter(), process_time()
        yield from steps(meeting)
        spent.append((perf_counter() - wall, process_time() - cpu))

    sources.keep_last()
    Meeting.steps = timed  # type: ignore[method-assign]
    ends: list[tuple[float, float]] = [(perf_counter(), process_time())]
    for outcome in api.sweep(plans(FEW), results, engine="here", device="cpu", threads=1):
        assert outcome.state == "run", outcome.error
        ends.append((perf_counter(), process_time()))
    Meeting.steps = steps  # type: ignore[method-assign]
    whole = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(ends)]
    beside = [[run[kind] - own[kind] for run, own in zip(whole, spent, strict=True)][FEW // 2 :] for kind in (0, 1)]
    figures: dict[str, Any] = {"time": median(beside[0]), "CPU time": median(beside[1])}
    return f"fixed part of a run, ms: {_told(figures)}\n"


def _told(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {1000 * value:.1f}" for name, value in figures.items())


def main() -> None:
    """Measure in a folder that is removed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--engine", default="local")
    options.add_argument("--cells", type=int, default=1000)
    options.add_argument("--workers", type=int)
    options.add_argument("--folder", type=Path, help="where records lie while it lasts")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        sys.stdout.write(fixed_part(Path(folder) / "fixed"))
        sys.stdout.write(measured(chosen.engine, chosen.cells, chosen.workers, Path(folder)))


if __name__ == "__main__":
    main()
