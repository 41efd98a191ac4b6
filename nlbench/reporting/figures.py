"""What the figures of a report show, as panels that can be drawn one by one on a page or side by side in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nlbench.comparison import Entry, Estimate, Group
from nlbench.comparison.chance import WORDS
from nlbench.comparison.costs import cost_text
from nlbench.comparison.statistics import mean_interval
from nlbench.comparison.tables import bytes_text, estimate_text
from nlbench.metrics import with_stand_in
from nlbench.records import Record
from nlbench.reporting import drawing
from nlbench.reporting.theme import Line, task_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_TASKS: Final = 5
"""Tasks with a panel of their own; of more, evenly spaced ones."""

MOST_NUMBERS: Final = 1000
"""Cells of all heat maps together up to which each shows its number; more would take longer than all the rest."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes: its title, the same in words, and how to draw it."""

    title: str
    alt: str
    draw: Callable[[Axes], None]
    note: str = ""
    size: tuple[float, float] = (330, 230)  # pixels


@dataclass(frozen=True)
class Figure:
    """Panels that belong together. `name` is that of the file; `legend` says which line is which; `scale` is for heat maps.
    `by_task`: lines have the colours of tasks.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    legend: tuple[tuple[str, Line], ...] = ()
    scale: bool = False
    by_task: bool = False


def figures(group: Group, styles: Mapping[str, int], *, numbers: bool) -> list[Figure]:
    """Return the figures of a group: accuracy matrices, forgetting curves, stability gap, Pareto fronts.

    `styles` says which learners stand out and in which line style; the others are drawn thin and grey. `numbers`: write each
    accuracy into its cell.
    """
    found = [
        matrices(group, numbers=numbers),
        forgetting_curves(group, styles),
        stability_gap(group, styles),
        pareto(group, styles),
    ]
    return [figure for figure in found if figure is not None]


# accuracy matrices


def matrices(group: Group, *, numbers: bool) -> Figure:
    """Return a heat map of R for each learner, mean over seeds; what was not measured is blank."""
    caption = (
        "Row i: after learning tasks 1 to i (0: before any). Column j: accuracy on the test set of task j, mean over seeds. "
        "Below the stepped line a task has been learned; above it lies ahead. Fading down a column is forgetting."
    )
    panels = tuple(_matrix_panel(entry, group, numbers) for entry in group.entries)
    return Figure("matrices", "Accuracy matrices", caption, panels, scale=True)


def _matrix_panel(entry: Entry, group: Group, numbers: bool) -> Panel:
    mean = entry.record.accuracies.mean(axis=0)
    names = with_stand_in(("average_accuracy", "forgetting"), lambda name: entry.estimates[name].mean is not None)
    note = ", ".join(_metric(entry, name) for name in names)
    alt = f"Accuracy matrix of {entry.label} on {group.stream}: {note}."
    return Panel(entry.label, alt, lambda axes: drawing.heat_map(axes, mean, numbers), note + _warning(entry), (260, 268))


def _metric(entry: Entry, name: str) -> str:
    return f"{name.replace('_', ' ')} {estimate_text(entry.estimates[name])}"


def _warning(entry: Entry) -> str:
    return f" ({WORDS[entry.learned]}: its forgetting says nothing)" if entry.learned in WORDS else ""


# forgetting curves


def forgetting_curves(group: Group, styles: Mapping[str, int]) -> Figure:
    """Return a panel for the mean over the tasks so far and one for each task but the last: accuracy after each task."""
    shown = _spread(group.n_tasks - 1)
    caption = (
        "Accuracy on the whole test set after each task, mean over seeds with its 95 % interval. "
        "Shaded: the task has not been learned yet. Dotted: chance, the best constant label of the task, or of the whole stream."
    )
    if len(shown) < group.n_tasks - 1:
        caption += f" Tasks {', '.join(map(str, shown))} of {group.n_tasks}."
    panels = [_curve_panel("all tasks so far", group, styles, _mean_of_seen, 0)]
    panels += [_curve_panel(f"task {task}", group, styles, partial(_column, task=task), task) for task in shown]
    return Figure("forgetting", "Forgetting curves, task by task", caption, tuple(panels), _legend(group, styles))


def learning_curves(entry: Entry, group: Group) -> Figure:
    """Return one panel for a learner: the mean over the tasks so far, with its interval, and some tasks one by one."""
    accuracies = entry.record.accuracies
    mean = accuracies.mean(axis=0).filled(np.nan)
    after, seen = np.arange(group.n_tasks + 1), _interval(_mean_of_seen(accuracies))
    level = _constant_answers(entry.record, 0)

    def draw(axes: Axes) -> None:
        drawing.frame(axes, x=(0, group.n_tasks), x_label="tasks learned", y_label="accuracy")
        if level:
            drawing.chance(axes, float(np.mean(level)))
        for task in _spread(group.n_tasks):
            drawing.task_curve(axes, after[task:], mean[task:, task - 1], task, group.n_tasks)
        drawing.curve(axes, after, *seen, Line.of(0))

    caption = (
        "Accuracy on the whole test set after each task, mean over seeds: of each task from when it was learned, and with "
        "circles and a 95 % band, of all tasks so far. Dotted: chance, the best constant label of the whole stream."
    )
    panel = Panel("tasks so far", _curve_alt("all tasks so far", group, {entry.label: seen[0]}), draw, size=(460, 280))
    return Figure("curves", "Learning and forgetting", caption, (panel,), by_task=True)


def history_curve(title: str, estimates: Sequence[Estimate]) -> Figure:
    """Return one panel of a metric over successive records of one learner, oldest first."""
    found = [[np.nan if value is None else value for value in (one.mean, one.low, one.high)] for one in estimates]
    mean, low, high = np.array(found).T

    def draw(axes: Axes) -> None:
        drawing.frame(axes, x=(1, len(mean)), x_label="records, oldest first", y_label=title)
        drawing.curve(axes, np.arange(1, len(mean) + 1), mean, low, high, Line.of(0))

    alt = f"{title} of successive records: {', '.join(f'{value:.3f}' for value in mean if not np.isnan(value))}."
    return Figure("history", "History", "", (Panel(title, alt, draw, size=(460, 240)),))


def _mean_of_seen(accuracies: np.ma.MaskedArray) -> np.ma.MaskedArray:
    """Return (S, T+1): after task i, the mean over tasks 1..i; masked at i = 0 and where one of them was not measured."""
    after, task = np.indices(accuracies.shape[1:])
    seen = task < after
    sums = np.where(seen, accuracies.filled(np.nan), 0.0).sum(axis=2)
    means = sums[:, 1:] / np.arange(1, accuracies.shape[1])
    return np.ma.masked_invalid(np.concatenate([np.full((len(sums), 1), np.nan), means], axis=1))


def _column(accuracies: np.ma.MaskedArray, task: int) -> np.ma.MaskedArray:
    """Return (S, T+1): the accuracy on one task."""
    return accuracies[:, :, task - 1]


def _curve_panel(title: str, group: Group, styles: Mapping[str, int], of: Callable[[Any], Any], task: int) -> Panel:
    curves = {entry.label: _interval(of(entry.record.accuracies)) for entry in group.entries}
    level = [value for entry in group.entries for value in _constant_answers(entry.record, task)]
    after = np.arange(group.n_tasks + 1)

    def draw(axes: Axes) -> None:
        drawing.frame(axes, x=(0, group.n_tasks), x_label="tasks learned", y_label="accuracy")
        if task > 1:
            drawing.shade(axes, 0, task - 1)
        if level:
            drawing.chance(axes, float(np.mean(level)))
        for label, line in _behind_first(group, styles):
            drawing.curve(axes, after, *curves[label], line)

    return Panel(title, _curve_alt(title, group, {k: v[0] for k, v in curves.items() if k in styles}), draw)


def _constant_answers(record: Record, task: int) -> list[float]:
    """Return, for each seed that says it, what a constant answer reaches on a task, or at the end of the stream on all."""
    if task:
        return list(record.chance[:, task - 1].compressed())
    return [value for value in record.chance_of("average_accuracy").values() if value is not None]


def _interval(values: np.ma.MaskedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean over seeds of (S, N) values with its 95 % bounds, NaN where not measured."""
    columns = [column.compressed() for column in np.ma.asarray(values).T]
    found = np.array([mean_interval(column, within=(0, 1))[:3] if column.size else (np.nan,) * 3 for column in columns])
    return found[:, 0], found[:, 1], found[:, 2]


def _curve_alt(title: str, group: Group, means: Mapping[str, np.ndarray]) -> str:
    words = []
    for label, mean in means.items():
        known = mean[~np.isnan(mean)]
        if known.size:
            words.append(f"{label} peaks at {known.max():.2f} and ends at {known[-1]:.2f}")
    return f"Accuracy on {title} of {group.stream} against tasks learned: {'; '.join(words)}."


def _legend(group: Group, styles: Mapping[str, int]) -> tuple[tuple[str, Line], ...]:
    named = [
        (entry.label + (f" ({WORDS[entry.learned]})" if entry.learned in WORDS else ""), Line.of(styles[entry.label]))
        for entry in group.entries
        if entry.label in styles
    ]
    others = len(group.entries) - len(named)
    return (*named, (f"{others} others", Line.of(None))) if others else tuple(named)


def _behind_first(group: Group, styles: Mapping[str, int]) -> list[tuple[str, Line]]:
    """Return the learners' lines in the order of drawing: the grey ones behind the others."""
    labels = sorted((entry.label for entry in group.entries), key=lambda label: label in styles)
    return [(label, Line.of(styles.get(label))) for label in labels]


def _spread(tasks: int) -> list[int]:
    """Return at most MOST_TASKS of the tasks 1..tasks, evenly spaced, the first and the last among them."""
    return sorted({round(task) for task in np.linspace(1, tasks, min(tasks, MOST_TASKS)).tolist()})


# stability gap


def stability_gap(group: Group, styles: Mapping[str, int]) -> Figure | None:
    """Return a panel for each learner that stands out: accuracy on each task as the samples pass; None if nobody looked."""
    entries = [entry for entry in group.entries if entry.label in styles]
    measured = {entry.label: curves for entry in entries if (curves := _within(entry))}
    if not measured:
        return None
    panels = [_gap_panel(entry, group, measured[entry.label]) for entry in entries if entry.label in measured]
    caption = (
        "Accuracy on a fixed subsample of each task as the stream passes, mean over seeds. A dip right after a switch of tasks "
        "(vertical lines) that later recovers is the stability gap; evaluations at task boundaries alone do not see it."
    )
    if missing := [entry.label for entry in entries if entry.label not in measured]:
        caption += f" Not measured within tasks: {', '.join(missing)}."
    return Figure("stability-gap", "Stability gap", caption, tuple(panels), by_task=True)


def _within(entry: Entry) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return, for each task, the samples seen and the accuracy, mean over seeds."""
    of_seeds = [within for seed in entry.record.seeds if (within := entry.record.within(seed)) is not None]
    if not of_seeds:
        return {}
    _, on_task, samples, accuracy = (np.concatenate(column) for column in zip(*of_seeds, strict=True))
    curves = {}
    for task in np.unique(on_task).tolist():
        here = on_task == task
        seen, place = np.unique(samples[here], return_inverse=True)
        curves[task] = (seen, np.bincount(place, accuracy[here]) / np.bincount(place))
    return curves


def _gap_panel(entry: Entry, group: Group, curves: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> Panel:
    starts = {task: float(samples[0]) for task, (samples, _) in curves.items()}
    end = max(float(samples[-1]) for samples, _ in curves.values())
    shown = [task for task in _spread(group.n_tasks) if task in curves]

    def draw(axes: Axes) -> None:
        drawing.frame(axes, x=(0, end), x_label="samples seen", y_label="accuracy")
        drawing.switches(axes, list(starts.values()))
        for task in shown:
            drawing.task_curve(axes, *curves[task], task, group.n_tasks)

    lowest = _metric(entry, "min_accuracy")
    alt = f"Accuracy of {entry.label} on tasks {', '.join(map(str, shown))} of {group.stream} against samples seen: {lowest}."
    return Panel(entry.label, alt, draw, lowest + _warning(entry))


# Pareto fronts


def pareto(group: Group, styles: Mapping[str, int]) -> Figure | None:
    """Return average accuracy against bytes, seconds and FLOPs, for the costs that were recorded or counted."""
    found: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("bytes", "bytes per seed at the end", bytes_text),
        ("seconds", "seconds of training per seed", drawing.seconds_text),
        ("flops", "FLOPs of training per seed", partial(cost_text, "flops")),
    )
    panels = tuple(panel for cost, axis, text in found if (panel := _pareto_panel(group, styles, cost, axis, text)))
    if not panels:
        return None
    caption = (
        "Further up and to the left is better. The stepped line is the Pareto front: no other learner is as accurate at no more "
        "cost. Bars: 95 % interval over seeds."
    )
    return Figure("pareto", "Accuracy against cost", caption, panels, _legend(group, styles))


def _pareto_panel(group: Group, styles: Mapping[str, int], cost: str, axis: str, text: Callable[[float], str]) -> Panel | None:
    placed = [
        entry
        for entry in group.entries
        if entry.estimates["average_accuracy"].mean is not None and getattr(entry, cost) is not None
    ]
    if not placed:
        return None
    points = [
        drawing.Point(
            entry.label,
            float(getattr(entry, cost)),
            entry.estimates["average_accuracy"],
            Line.of(styles.get(entry.label)),
            entry.on_front.get(cost, False),
        )
        for entry in placed
    ]

    def draw(axes: Axes) -> None:
        drawing.scatter(axes, points, axis, text)

    front = [point.label for point in sorted(points, key=lambda point: point.cost) if point.on_front]
    alt = f"Average accuracy against {axis} on {group.stream}; on the Pareto front: {', '.join(front)}."
    return Panel(f"against {cost}", alt, draw, size=(460, 300))


def legend_of_tasks(n_tasks: int) -> Sequence[tuple[int, str]]:
    """Return the tasks that the stability gap shows, each with its colour."""
    return [(task, task_colour(task, n_tasks)) for task in _spread(n_tasks)]
