"""Comparisons of records."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

from rich import box
from rich.table import Table

from nlbench.comparison import Comparison, tables
from nlbench.display.console import escape, lay_out, line, note, out
from nlbench.errors import NlbenchError, UnknownNameError


def comparison(result: Comparison, form: str, columns: Sequence[str] = ()) -> None:
    """Print a comparison: on a terminal no more columns than fit, or those named."""
    for remark in result.skipped:
        note(remark)
    _refuse_unknown(result, columns)
    if columns and form in ("csv", "json"):
        raise NlbenchError(f"--columns chooses columns of tables: {form} has every fact.", "Use --format table, md or latex.")
    renderers: dict[str, Callable[[], str]] = {
        "md": partial(result.to_markdown, columns),
        "csv": result.to_csv,
        "json": result.to_json,
        "latex": partial(result.to_latex, columns),
    }
    if form in renderers:
        sys.stdout.write(renderers[form]().rstrip("\n") + "\n")
        return
    size = sum(len(table.rows) for table in result.tables())
    show = _plain_table if size <= PRETTY_ROWS and out.is_terminal else _lines
    for group in result.groups:
        narrowed = [table if columns else _fitted(table) for table in tables.group_tables(group, columns)]
        for table in narrowed:
            show(table)
        for text in (*tables.remarks(group, costs=narrowed[0].header), ""):
            line(text)
    ranks = [tables.ranking_text(metric, ranking) for metric, ranking in result.overall.items()]
    for text in (*ranks, *result.mismatches, *result.left_out):
        line(text)


def _refuse_unknown(result: Comparison, columns: Sequence[str]) -> None:
    """Raise UnknownNameError for a column that no table of the comparison has, those aside that tables have only at times."""
    known = {*tables.LEAST, *(name for table in result.tables() for name in table.header)}
    for name in columns:
        if name not in known:
            raise UnknownNameError("column", name, known)


def _fitted(table: tables.Table) -> tables.Table:
    """Return the columns that fit on a terminal, elsewhere all, and say which others there are."""
    if not out.is_terminal:
        return table
    fits, dropped = tables.fitting(table, out.width - 2)
    if dropped:
        note(f"no room for {', '.join(dropped)}: --columns chooses, and in a file all are there")
    return fits


def _lines(table: tables.Table) -> None:
    for text in (*tables.to_text(table).splitlines(), ""):
        line(text)


PRETTY_ROWS = 200
"""More rows than this, or rows for no terminal, are printed as plain aligned text: laying them out takes seconds."""


def _plain_table(table: tables.Table) -> None:
    grid = Table(title=escape(table.title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.header:
        grid.add_column(
            escape(column).replace("_", " "), justify="left" if column in ("learner", "metric", "verdict") else "right"
        )
    for row in table.rows:
        grid.add_row(*map(escape, row))
    grid.add_section()
    for row in table.foot:
        grid.add_row(*map(escape, row), style="dim")
    lay_out(out, grid)
