"""What the record tools did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from nlbench.display.console import lay_out, line, note, out, size_text
from nlbench.records import read_record, read_records, tools


def diff(first: Path, second: Path) -> None:
    """Print the facts in which two records differ."""
    found = tools.diff(read_record(first), read_record(second))
    if not found:
        line("no fact differs")
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("fact", first.name, second.name):
        grid.add_column(escape(column), overflow="fold")
    for one in found:
        grid.add_row(*(escape(str(value)) for value in one))
    lay_out(out, grid)


def export(paths: Sequence[Path], target: Path) -> None:
    """Write the rows of records to a file and print where."""
    records, notes = read_records(list(paths))
    for remark in notes:
        note(str(remark))
    line(f"{tools.export(records, target)}: {len(records)} records")


def prune(results: Path, delete: bool) -> None:
    """Print the files that may go, and delete them if asked."""
    files = tools.prune(results, delete=delete)
    for path, what in files.items():
        line(f"{'deleted' if delete else what}  {path}")
    if not files:
        line("nothing to prune")
    elif not delete:
        note("nothing was deleted; --delete does, and without its checkpoint a killed run starts anew")


def migrate(files: Sequence[Path]) -> None:
    """Rewrite records in today's schema, printing what was done to each."""
    for path in files:
        line(f"{path}: {'rewritten' if tools.migrate(path) else 'up to date'}")


def report(written: Sequence[Path], notes: Sequence[object]) -> None:
    """Print where a report and its figures lie."""
    for remark in notes:
        note(str(remark))
    page, *figures = written
    line(f"{page}: {size_text(page.stat().st_size)}")
    if figures:
        line(f"{figures[0].parent}: {len(figures)} files")
