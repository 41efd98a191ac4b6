"""Models under many class orders: each order, and how far apart they lie."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from nlbench.api.ordering import spread
from nlbench.display.console import err, escape, lay_out, line, note, out, write_json

if TYPE_CHECKING:
    from nlbench.comparison.statistics import Interval
    from nlbench.sweep import Outcome
    from nlbench.sweep.orders import Found, Spread


class Told:
    """Tells of each run as it ends. `wrong`: whether one failed, or a seed diverged."""

    def __init__(self) -> None:
        self.wrong = False

    def take(self, outcome: Outcome) -> None:
        """Take what became of a run."""
        order = outcome.plan.stream.stream
        name = f"{outcome.plan.model} on {outcome.plan.stream_name}, class order {getattr(order, 'class_order', '')}"
        if outcome.state == "failed" or outcome.diverged:
            self.wrong = True
            note(f"{name}: {outcome.error or 'seeds diverged: ' + ', '.join(map(str, outcome.diverged))}")
        elif outcome.state == "run":
            err.print(f"  {name}: {outcome.seconds:.1f} s", markup=False)


def orders(found: Sequence[Found], as_json: bool) -> None:
    """Print what each model came to under each order, and how far apart its orders lie."""
    by_model = [(model, list(rows)) for model, rows in groupby(found, key=lambda one: one.model)]
    if as_json:
        write_json([_facts(model, rows) for model, rows in by_model])
        return
    for model, rows in by_model:
        grid = Table(title=escape(model), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("class order", "its tasks", "alike between tasks", "average accuracy", "forgetting"):
            grid.add_column(column)
        for one in rows:
            order = one.order
            grid.add_row(
                order.name, order.tasks, f"{order.between:+.3f}", _interval(one.average_accuracy), _interval(one.forgetting)
            )
        lay_out(out, grid)
        if (apart := spread(rows)) is not None:
            line(_words(apart))


def _words(apart: Spread) -> str:
    """Return how far apart the orders of a model lie, in a sentence."""
    low, high = _mean(apart.worst), _mean(apart.best)
    worst, best = apart.worst.order.name, apart.best.order.name
    said = f"{apart.model}: from {low:.3f} ({worst}) to {high:.3f} ({best}), {high - low:.3f} apart"
    if apart.drawn is None:
        return f"{said}."
    return f"{said}; drawn orders alone: {apart.drawn[0]:.3f}, standard deviation {apart.drawn[1]:.3f}."


def _mean(one: Found) -> float:
    assert one.average_accuracy is not None
    return one.average_accuracy.mean


def _interval(found: Interval | None) -> str:
    if found is None:
        return "–"
    return f"{found.mean:.3f}" if found.n < 2 else f"{found.mean:.3f} ({found.low:.3f} … {found.high:.3f})"


def _facts(model: str, rows: Sequence[Found]) -> dict[str, Any]:
    apart = spread(rows)
    return {
        "model": model,
        "orders": [
            {
                "name": one.order.name,
                "classes": one.order.classes,
                "sizes": one.order.sizes,
                "between": one.order.between,
                "record": one.record,
                **{
                    metric: None if value is None else {"mean": value.mean, "low": _known(value.low), "high": _known(value.high)}
                    for metric, value in (("average_accuracy", one.average_accuracy), ("forgetting", one.forgetting))
                },
            }
            for one in rows
        ],
        "spread": None
        if apart is None
        else {
            "worst": apart.worst.order.name,
            "best": apart.best.order.name,
            "apart": _mean(apart.best) - _mean(apart.worst),
            "drawn": None if apart.drawn is None else {"mean": apart.drawn[0], "sd": apart.drawn[1]},
        },
    }


def _known(bound: float) -> float | None:
    """Return the end of an interval; None where one seed gives none."""
    return None if bound != bound else bound
