"""A sweep while it goes on and when it is done: counts by model and stream, what failed, what diverged, time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.table import Table

from nlbench.api.progress import clock
from nlbench.display.console import err, escape, in_sight, lay_out, note, out, seeds_text, size_text, write_json

if TYPE_CHECKING:
    from nlbench.api.sweeping import Costs
    from nlbench.sweep import Cell, Outcome
    from nlbench.sweep.grid import Point

STATES: Final = ("recorded", "run", "diverged", "failed", "interrupted", "left")

Key = tuple[str, str]


class Board:
    """Counts the cells of a sweep by what became of them, and how long the rest will take."""

    def __init__(self, points: Sequence[Point], slots: int) -> None:
        self.outcomes: list[Outcome] = []
        self._labels = {_path(point.plan): point.label for point in points}
        self._cells = Counter(_key(point.plan) for point in points)
        self._counts: dict[Key, Counter[str]] = {key: Counter() for key in self._cells}
        self._seconds: dict[Key, list[float]] = {}
        self._slots = slots
        self._since = monotonic()

    def shown(self) -> AbstractContextManager[None]:
        """Show how far it is while this lasts: live in a terminal, elsewhere a line now and then."""
        return in_sight(err, self.table, self.line)

    def take(self, outcome: Outcome) -> None:
        """Take what became of a cell; tell at once what failed or diverged."""
        self.outcomes.append(outcome)
        self._since = monotonic()
        key = _key(outcome.plan)
        self._counts[key][outcome.state] += 1
        if outcome.state == "run":
            self._seconds.setdefault(key, []).append(outcome.seconds)
        label = f"{self._labels[_path(outcome.plan)]} on {outcome.plan.stream_name}"
        for text in dict.fromkeys(outcome.notes):
            note(f"{label}: {text}")
        if outcome.state in ("failed", "diverged") or outcome.diverged:
            note(f"{label}: {_why(outcome)}")

    def line(self) -> str:
        """Return where the sweep stands in one line."""
        counts = sum(self._counts.values(), Counter[str]())
        parts = [f"{counts.total()}/{self._cells.total()} cells"]
        parts += [f"{counts[state]} {state}" for state in STATES if counts[state] and state != "run"]
        left = self.left()
        return ", ".join([*parts, *([f"{clock(left)} left"] if left else [])])

    def left(self) -> float | None:
        """Return the seconds that the other cells will take; None until one was run. What is known of like cells is taken."""
        all_seconds = [seconds for found in self._seconds.values() for seconds in found]
        if not all_seconds:
            return None
        usual = sum(all_seconds) / len(all_seconds)
        waiting = {key: self._cells[key] - self._counts[key].total() for key in self._cells}
        mean = {key: sum(found) / len(found) for key, found in self._seconds.items()}
        whole = sum(count * mean.get(key, usual) for key, count in waiting.items()) / self._slots
        return max(0.0, whole - (monotonic() - self._since))

    def table(self) -> Table:
        """Return the counts as a table, with how far the sweep is as its title."""
        seen = [state for state in STATES if any(counts[state] for counts in self._counts.values())]
        grid = Table(title=self.line(), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("stream", "model", "cells", *seen, "s a cell"):
            grid.add_column(column, justify="left" if column in ("stream", "model") else "right")
        for key, counts in self._counts.items():
            found = self._seconds.get(key, [])
            seconds = f"{sum(found) / len(found):.1f}" if found else "–"
            numbers = [str(counts[state] or "") for state in seen]
            grid.add_row(escape(key[1]), escape(key[0]), str(self._cells[key]), *numbers, seconds)
        return grid

    def summary(self, results: str, as_json: bool) -> None:
        """Print what became of the cells, and why of those that have no record."""
        if as_json:
            write_json([_facts(outcome, self._labels[_path(outcome.plan)]) for outcome in self.outcomes])
            return
        lay_out(out, self.table())
        if any(outcome.state == "left" for outcome in self.outcomes):
            note("the budget ended before every cell began; the same command goes on.")
        if any(outcome.state in ("run", "recorded") for outcome in self.outcomes):
            note(f"records in {results}: nlbench compare {results}")


def dry_run(cells: Sequence[tuple[Point, Cell]], costs: Costs | None, as_json: bool) -> None:
    """Print the cells of a grid, what of each is recorded, and what the rest would cost."""
    if as_json:
        rows = [
            {
                "model": point.plan.model,
                "stream": point.plan.stream_name,
                "values": point.values,
                "fingerprint": point.plan.fingerprint,
                "seeds": list(point.plan.seeds),
                "missing": list(cell.missing),
                "diverged": sorted(cell.diverged),
            }
            for point, cell in cells
        ]
        write_json({"cells": rows, "costs": None if costs is None else costs._asdict()})
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("stream", "model", "fingerprint", "to run"):
        grid.add_column(column)
    for point, cell in cells:
        left = seeds_text(cell.missing) if cell.missing else "nothing: it is recorded"
        gone = f" ({seeds_text(sorted(cell.diverged))} diverged)" if cell.diverged else ""
        grid.add_row(escape(point.plan.stream_name), escape(point.label), point.plan.fingerprint, f"{left}{gone}")
    lay_out(out, grid)
    missing = sum(bool(cell.missing) for _, cell in cells)
    note(f"{len(cells)} cells, {missing} to run")
    if costs is None:
        return
    for key, why in costs.unknown.items():
        note(f"{key}: not in what follows, as it fails: {why}")
    if costs.seconds:
        note(
            f"about {clock(costs.seconds)} on {costs.slots} worker{'s' * (costs.slots > 1)} of this machine, judged by one cell "
            f"of each model and stream; a cell keeps at most {size_text(costs.bytes)}, beside its data and what training needs"
        )


def _facts(outcome: Outcome, label: str) -> dict[str, Any]:
    plan = outcome.plan
    return {
        "cell": f"{label} on {plan.stream_name}",
        "model": plan.model,
        "stream": plan.stream_name,
        "fingerprint": plan.fingerprint,
        "state": outcome.state,
        "seeds_run": list(outcome.seeds_run),
        "diverged": {str(seed): why for seed, why in outcome.diverged.items()},
        "error": outcome.error or None,
        "seconds": round(outcome.seconds, 3),
    }


def _why(outcome: Outcome) -> str:
    if outcome.state == "failed":
        return f"failed: {outcome.error}"
    told = "; ".join(f"seed {seed}, {why}" for seed, why in outcome.diverged.items())
    return f"diverged{', and has no record' * (outcome.state == 'diverged')}: {told}"


def _key(plan: Any) -> Key:
    return plan.model, plan.stream_name


def _path(plan: Any) -> str:
    return f"{plan.model}.{plan.stream_name}.{plan.fingerprint}"
