"""A finished run and its record."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from nlbench import metrics as definitions
from nlbench.api.running import Run
from nlbench.comparison import learned, mean_chance
from nlbench.comparison.chance import WORDS
from nlbench.comparison.statistics import mean_interval
from nlbench.display.console import escape, lay_out, number_text, out, seeds_text, size_text, write_json
from nlbench.records import Record

HEADLINE = (
    "average_accuracy",
    "average_incremental_accuracy",
    "learning_accuracy",
    "forgetting",
    "forgetting_first",
    "forgetting_worst",
    "backward_transfer",
    "forward_transfer",
    "min_accuracy",
    "worst_case_accuracy",
    "learning_curve_area",
    "prequential_accuracy",
    "recovery_time",
)
"""The metrics that `run` and `show` print; the record holds all of them."""

MOST_TASKS = 20
"""Tasks up to which the whole matrix is printed; of more, evenly spaced ones."""


def run(done: Run, as_json: bool) -> None:
    """Print a finished run."""
    if as_json:
        write_json({"record": str(done.path), "seeds_run": list(done.seeds_run), **plain(done.record)})
        return
    record(done.record)
    if done.seeds_kept:
        out.print(f"Another run recorded {seeds_text(done.seeds_kept)} meanwhile; its values are kept.", style="dim")
    elif not done.seeds_run:
        out.print("Every seed was recorded already; nothing ran.", style="dim")
    out.print(Text("record  ", style="dim") + Text(str(done.path), style="bold"), soft_wrap=True)


def record(found: Record) -> None:
    """Print a record's accuracy matrix, metrics, costs."""
    out.print()
    out.print(
        f"[bold]{escape(found.model)}[/] on [bold]{escape(found.stream)}[/] ({escape(found.scenario)}), "
        f"{seeds_text(found.seeds)}: mean accuracy on {'each task' if found.n_tasks <= MOST_TASKS else 'some of its tasks'}"
    )
    if found.class_order:
        out.print(found.class_order, style="dim", markup=False, soft_wrap=True)
    lay_out(out, _matrix(found))
    lay_out(out, _metric_table(found))
    for reason, names in _reasons(found).items():
        out.print(f"– {', '.join(names)}: {reason}", style="dim", markup=False, soft_wrap=True)
    out.print()
    seconds = ", ".join(f"{phase} {value:.2f} s" for phase, value in sorted(found.seconds().items(), reverse=True))
    sizes = ", ".join(f"{kind} {size_text(value)}" for kind, value in found.bytes().items() if value)
    out.print(f"[dim]seconds[/] {escape(seconds)} (all seeds together)   [dim]bytes per seed[/] {escape(sizes) or '0 B'}")


def _matrix(found: Record) -> Table:
    """Return R, mean over seeds: a row per boundary, a column per task; what is still to come is dim."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("after", no_wrap=True)
    mean = found.accuracies.mean(0)
    count = found.n_tasks if found.n_tasks <= MOST_TASKS else MOST_TASKS // 2
    tasks = np.linspace(1, found.n_tasks, count).round().astype(int).tolist()
    for task in tasks:
        grid.add_column(f"task {task}" if found.n_tasks <= 6 else str(task), justify="right", no_wrap=True)
    for i in (0, *tasks):
        grid.add_row("no task" if i == 0 else f"task {i}", *(_cell(mean[i, j - 1], i, j) for j in tasks))
    return grid


def _cell(value: Any, after: int, task: int) -> Text:
    if value is None or getattr(value, "mask", False) is True or str(value) == "--":
        return Text("–", style="dim")
    number = float(value)
    if task > after:
        return Text(number_text(number), style="dim")
    # from orange to blue: readable without red and green
    low, high = (230, 97, 1), (33, 113, 181)
    share = min(max(number, 0.0), 1.0)
    colour = "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(low, high, strict=True))
    return Text(number_text(number), style=f"{'bold ' if task == after else ''}{colour}")


def _headline(found: Record) -> list[str]:
    """Return HEADLINE without forgetting_first beside forgetting, and without prequential accuracy where it was not measured."""
    idle = {"forgetting_first"} if found.measured("forgetting") else set()
    idle |= set() if found.measured("prequential_accuracy") else {"prequential_accuracy"}
    return [name for name in HEADLINE if name not in idle]


def _metric_table(found: Record) -> Table:
    grid = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    grid.add_column("metric", min_width=28, no_wrap=True)
    grid.add_column("mean", justify="right", min_width=6, no_wrap=True)
    grid.add_column("95 % interval", justify="right", min_width=16, no_wrap=True)
    grid.add_column("chance", justify="right", no_wrap=True)
    grid.add_column("", style="dim")
    for name in _headline(found):
        values = list(found.measured(name).values())
        if values:
            interval = mean_interval(np.asarray(values), within=definitions.METRICS[name].range)
            bounds = f"{number_text(interval.low)} … {number_text(interval.high)}" if len(values) > 1 else "one seed"
            better = f"{definitions.METRICS[name].better} is better"
            grid.add_row(name, number_text(sum(values) / len(values)), bounds, _chance(found, name), better)
        else:
            grid.add_row(name, "–", "", "", "")
    if said := WORDS.get(learned(found)):
        grid.add_row(Text(said, style="bold"), "", "", "", "what was not learned cannot be forgotten")
    return grid


_MEASURED_BY: Final = {
    "needs accuracy_within, which the stream did not measure": "--set protocol.evaluate_every=N, in samples, does",
    "needs prequential_accuracy, which the stream did not measure": "--set protocol.prequential=true does",
}


def _reasons(found: Record) -> dict[str, list[str]]:
    """Return why metrics are null, each reason with those of which it is."""
    reasons: dict[str, list[str]] = {}
    for name in _headline(found):
        if not found.measured(name):
            reason = found.reason(name)
            way_out = _MEASURED_BY.get(reason)
            reasons.setdefault(f"{reason}: {way_out}" if way_out else reason, []).append(name)
    return reasons


def _chance(found: Record, name: str) -> str:
    """Return what constant answers reach of a metric: a dash where an older record does not say it."""
    if name not in definitions.WITH_CHANCE:
        return ""
    chance = mean_chance(found, name)
    return "–" if chance is None else number_text(chance)


def plain(found: Record) -> dict[str, Any]:
    """Return a record's headline as plain values."""
    metrics: dict[str, Any] = {}
    for name in definitions.METRICS:
        by_seed = found.metric(name) if definitions.METRICS[name].needs != "references" else {}
        known = [value for value in by_seed.values() if value is not None]
        if not by_seed:
            continue
        interval = mean_interval(np.asarray(known), within=definitions.METRICS[name].range) if len(known) > 1 else None
        metrics[name] = {
            "mean": sum(known) / len(known) if known else None,
            "low": interval.low if interval else None,
            "high": interval.high if interval else None,
            "chance": mean_chance(found, name),
            "by_seed": by_seed,
            "reason": None if known else found.reason(name),
        }
    return {
        "model": found.model,
        "stream": found.stream,
        "scenario": found.scenario,
        "fingerprint": found.fingerprint,
        "seeds": list(found.seeds),
        "learned": learned(found),
        "accuracy": found.accuracies.mean(0).tolist(),
        "metrics": metrics,
        "bytes": found.bytes(),
        "seconds": found.seconds(),
    }
