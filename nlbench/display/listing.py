"""What there is to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rich.table import Table

from nlbench.api.choices import Listing
from nlbench.display.console import escape, lay_out, mean_text, note, out
from nlbench.metrics import Metric, with_stand_in

if TYPE_CHECKING:
    from nlbench.records import Record


def listing(found: Listing) -> None:
    """Print what there is to choose from."""
    if found.models is not None:
        _names("models", found.models)
    if found.streams is not None:
        _names("streams", found.streams)
    if found.extensions is not None:
        _names("extensions", {title: ", ".join(names) for title, names in found.extensions.items()})
    if found.metrics is not None:
        _metrics(found.metrics)
    if found.claims is not None:
        _names("claims", found.claims)
    if found.records:
        _records(f"records in {found.results}", found.records)
    elif found.records is not None:
        out.print(f"no records in {found.results} yet: nlbench run --model hope --stream split-digits", markup=False)
    for remark in found.skipped:
        note(remark)


def _names(title: str, rows: Mapping[str, str]) -> None:
    grid = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(style="dim")
    for row in rows.items():
        grid.add_row(*map(escape, row))
    lay_out(out, grid)
    out.print()


def _metrics(found: Sequence[Metric]) -> None:
    grid = _grid("metrics", "name", "better", "formula and source")
    for metric in found:
        grid.add_row(metric.name, metric.better, f"{escape(metric.formula)}  [dim]{escape(metric.source)}[/]")
    lay_out(out, grid)
    out.print()


def _records(title: str, found: Sequence[Record]) -> None:
    grid = _grid(escape(title), "model", "stream", "scenario", "seeds", "average accuracy", "forgetting", "file")
    grid.columns[-1].no_wrap, grid.columns[-1].overflow = False, "fold"  # a file's name is there to be copied
    for item in found:
        names = ("average_accuracy", *with_stand_in(("forgetting",), partial(_is_measured, item)))
        shown = [mean_text(list(item.metric(name).values())) for name in names]
        shown[1] += " (first)" if "forgetting_first" in names else ""
        grid.add_row(*map(escape, (item.model, item.stream, item.scenario, str(len(item.seeds)), *shown, item.path.name)))
    lay_out(out, grid)


def _is_measured(record: Record, metric: str) -> bool:
    return bool(record.measured(metric))


def _grid(title: str, *columns: str) -> Table:
    grid = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        grid.add_column(column, no_wrap=column != columns[-1])
    return grid
