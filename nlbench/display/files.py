"""What was done with files: records, declarations, reports and data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.progress import Progress
from rich.table import Table

from nlbench.comparison.costs import cost_text
from nlbench.display.console import err, escape, lay_out, line, note, out, size_text

if TYPE_CHECKING:
    from nlbench.api.counting import Counts
    from nlbench.api.data import Known, Verified
    from nlbench.api.files import Exported
    from nlbench.api.reading import Report, Site
    from nlbench.api.validating import Checked
    from nlbench.records import Record
    from nlbench.records.facts import Difference


def differences(found: Sequence[Difference], first: str, second: str) -> None:
    """Print the facts in which two records of these names differ."""
    if not found:
        line("no fact differs")
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("fact", first, second):
        grid.add_column(escape(column), overflow="fold")
    for one in found:
        grid.add_row(*(escape(str(value)) for value in one))
    lay_out(out, grid)


def counted(record: Record, flops: float) -> None:
    """Tell of the training FLOPs of one record."""
    err.print(f"  {record.model} on {record.stream}: {cost_text('flops', flops)}", markup=False)


def counts(done: Counts) -> None:
    """Print training FLOPs by record, and which are not known."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("record")
    grid.add_column("training FLOPs of a seed", justify="right")
    for path, flops in done.flops.items():
        grid.add_row(escape(path.name), cost_text("flops", flops))
    lay_out(out, grid)
    for path, why in done.unknown.items():
        note(f"{path.name}: not known: {why}")
    note(f"counts in {done.path}: nlbench compare … --flops {done.path}")


def exported(done: Exported) -> None:
    """Print where the rows of records were written."""
    _skipped(done.skipped)
    line(f"{done.path}: {done.records} records")


def pruned(files: Mapping[Path, str], deleted: bool) -> None:
    """Print the files that may go, or went."""
    for path, what in files.items():
        line(f"{'deleted' if deleted else what}  {path}")
    if not files:
        line("nothing to prune")
    elif not deleted:
        note("nothing was deleted; --delete does, and without its checkpoint a killed run starts anew")


def migrated(path: Path, rewritten: bool) -> None:
    """Print what was done to a record."""
    line(f"{path}: {'rewritten' if rewritten else 'up to date'}")


def validated(found: Iterable[Checked]) -> None:
    """Print the files that break no rule."""
    for one in found:
        if not one.problems:
            line(f"{one.path}: a {one.kind}, no rule broken")


def known(found: Iterable[Known]) -> None:
    """Print data sets with their licence, who made them, and whether they are here."""
    for source, state in found:
        line(f"{source.name}: {source.title}")
        line(f"  {source.modality or source.kind}, {source.n_classes} classes; {state}")
        line(f"  {source.licence}; {source.origin}")


def verified(found: Iterable[Verified]) -> None:
    """Print where the data sets lie that are as they should be."""
    for one in found:
        if not one.problem:
            line(f"{one.name}: {one.files} files verified" + (f" in {one.folder}" if one.folder else ""))


def report(done: Report) -> None:
    """Print where a report and its figures lie."""
    _skipped(done.skipped)
    line(f"{done.page}: {size_text(done.page.stat().st_size)}")
    if done.figures:
        line(f"{done.figures[0].parent}: {len(done.figures)} files")


@contextmanager
def pages() -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how many files of how many are written; give what is told."""
    with Progress(*Progress.get_default_columns(), console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("pages", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def published(done: Site) -> None:
    """Print where a site lies and what it holds."""
    _skipped(done.skipped)
    one = done.published
    held = f"{_many(one.records, 'record')} on {_many(one.streams, 'stream')}"
    line(f"{one.folder / 'index.html'}: {held}, largest page {size_text(one.largest)}")


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _skipped(remarks: Iterable[str]) -> None:
    for remark in remarks:
        note(remark)
