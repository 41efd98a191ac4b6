"""Simulate sweeps of thousands of cells, and write the table of docs/scale.md: `python tools/simulate_scale.py`.

What decides is the package's own: `nlbench.sweep.drive` begins, retries and gives up here as it does on a cluster, against an
engine whose clock is simulated. What is assumed of cells and nodes is said by `Cluster`; `--write` puts the table into the page.
"""

from __future__ import annotations

import argparse
import re
import sys
from heapq import heappop, heappush
from math import exp, log
from pathlib import Path
from typing import Any, NamedTuple

from nlbench import seeds as draws
from nlbench.stopping import Stopping
from nlbench.sweep import Ended, Engine, Work, drive

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
HOUR = 3600.0


class Cluster(NamedTuple):
    """What is assumed. Times in seconds.

    cells, nodes, workers  how many; workers of each node
    cell        the median of what a cell takes on a usual node; times are log-normal with this `spread`, the standard deviation
                of their logarithm: at 0.5 one in twenty takes 2.3 times the median or more
    slow, by    the share of nodes that are slower, and how many times
    cold        until a new worker is ready
    dispatch    that whoever drives the sweep is busy with each cell, one after another
    lost_every  of a worker, the mean time until it is lost, at any moment; None: never
    checkpoint  between two checkpoints of a cell: less than this is learned again when its worker is lost
    """

    cells: int = 10_000
    nodes: int = 100
    workers: int = 16
    cell: float = 60.0
    spread: float = 0.5
    slow: float = 0.0
    by: float = 3.0
    cold: float = 10.0
    dispatch: float = 0.005
    lost_every: float | None = None
    checkpoint: float = 60.0


class Cell(NamedTuple):
    """A cell that takes so many seconds on a usual node."""

    seconds: float

    def perform(self) -> Any:
        """Nothing: the engine only waits."""


class Simulated(Engine):
    """Workers that take as long as cells say, on a clock that jumps from one end to the next."""

    def __init__(self, cluster: Cluster) -> None:
        self.slots = cluster.nodes * cluster.workers
        self.now, self.lost = 0.0, 0
        self._cluster = cluster
        self._free = [(cluster.cold, worker) for worker in range(self.slots)]
        self._ends: list[tuple[float, int, str, int]] = []
        self._left: dict[int, float] = {}
        self._begun = 0

    def submit(self, number: int, work: Work) -> None:
        """Begin on the worker that is ready first, when the driver has sent it."""
        assert isinstance(work, Cell)
        self.now += self._cluster.dispatch
        ready, worker = heappop(self._free)
        begins, left = max(self.now, ready), self._left.setdefault(number, work.seconds)
        takes = left * (self._cluster.by if _is_slow(self._cluster, worker) else 1.0)
        survives = self._survives()
        if survives < takes:
            kept = survives - survives % self._cluster.checkpoint
            self._left[number] = left * (1 - kept / takes)
        heappush(self._ends, (begins + min(takes, survives), number, "lost" if survives < takes else "done", worker))

    def ended(self, timeout: float) -> list[Ended]:
        """Return what ends next, and what has while the driver was busy."""
        found = []
        while self._ends and (not found or self._ends[0][0] <= self.now):
            at, number, how, worker = heappop(self._ends)
            self.now = max(self.now, at)
            self.lost += how == "lost"
            heappush(self._free, (at + (self._cluster.cold if how == "lost" else 0.0), worker))
            found.append(Ended(number, how))  # type: ignore[arg-type]
        return found

    def _survives(self) -> float:
        """Return the seconds until a worker that begins now is lost."""
        self._begun += 1
        if self._cluster.lost_every is None:
            return float("inf")
        return -self._cluster.lost_every * log(1.0 - float(draws.generator(draws.FIXED, f"scale/lost/{self._begun}").random()))


def _is_slow(cluster: Cluster, worker: int) -> bool:
    return worker // cluster.workers < cluster.slow * cluster.nodes


class Result(NamedTuple):
    """How a sweep went: its seconds, the share of them that workers ran cells to an end, workers lost, cells given up."""

    seconds: float
    efficiency: float
    lost: int
    failed: int


def simulate(cluster: Cluster) -> Result:
    """Return how a sweep goes on a cluster."""
    normal = draws.generator(draws.FIXED, "scale/cells").standard_normal(cluster.cells)
    cells = [Cell(cluster.cell * exp(cluster.spread * float(value))) for value in normal]
    engine = Simulated(cluster)
    ends = [end for _, end in drive(engine, cells, Stopping())]
    assert len(ends) == cluster.cells
    useful = sum(cells[end.number].seconds for end in ends if end.how == "done")
    failed = sum(end.how != "done" for end in ends)
    return Result(engine.now, useful / (engine.now * engine.slots), engine.lost, failed)


USUAL = Cluster()
CASES: dict[str, Cluster] = {
    "cells of a minute, nothing goes wrong": USUAL,
    "all cells alike": USUAL._replace(spread=0.0),
    "100,000 of them": USUAL._replace(cells=100_000),
    "cells of ten minutes": USUAL._replace(cell=600.0),
    "cells of six seconds": USUAL._replace(cell=6.0),
    "cells of one second": USUAL._replace(cell=1.0),
    "cells of one second, 15 ms to dispatch": USUAL._replace(cell=1.0, dispatch=0.015),
    "a twentieth of the nodes three times as slow": USUAL._replace(slow=0.05),
    "one in a hundred cells ten times as long (spread 1)": USUAL._replace(spread=1.0),
    "workers ready after two minutes": USUAL._replace(cold=120.0),
    "a worker is lost every 12 hours": USUAL._replace(lost_every=12 * HOUR),
    "a worker is lost every hour": USUAL._replace(lost_every=HOUR),
    "the same, cells of ten minutes": USUAL._replace(cell=600.0, lost_every=HOUR),
    "the same, no checkpoints": USUAL._replace(cell=600.0, lost_every=HOUR, checkpoint=1e9),
    "lost every ten minutes, cells of ten": USUAL._replace(cell=600.0, lost_every=600.0),
}


def table() -> str:
    """Return the table of all cases."""
    head = ("10,000 cells on 100 nodes of 16 workers", "takes", "of that runs", "workers lost", "cells given up")
    lines = [f"| {' | '.join(head)} |", "|---|--:|--:|--:|--:|"]
    for name, cluster in CASES.items():
        found = simulate(cluster)
        lines.append(f"| {name} | {_clock(found.seconds)} | {found.efficiency:.0%} | {found.lost:,} | {found.failed:,} |")
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    return f"{seconds / HOUR:.1f} h" if seconds >= HOUR else f"{seconds / 60:.1f} min"


def main() -> None:
    """Print the table, or put it into the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--write", action="store_true")
    chosen = options.parse_args()
    made = table()
    sys.stdout.write(f"{made}\n")
    if chosen.write:
        page = PAGE.read_text(encoding="utf-8")
        marked = f"<!-- simulated -->\n{made}\n<!-- /simulated -->"
        pattern = "<!-- simulated -->.*<!-- /simulated -->"
        PAGE.write_text(re.sub(pattern, lambda _: marked, page, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
