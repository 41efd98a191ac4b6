"""The two consoles, and numbers, sizes and seeds as text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

from rich import console, markup
from rich.console import RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table

from nlbench import escaping


class Console(console.Console):
    """A console that shows control characters in what it is given, and obeys none."""

    def render(self, *arguments: Any, **options: Any) -> Iterator[Segment]:
        """Yield the segments of what is shown, each control character in their text as its escape."""
        for segment in super().render(*arguments, **options):
            if segment.control or (segment.text.isprintable() and ":" not in segment.text and "#" not in segment.text):
                yield segment
            else:
                yield segment._replace(text="\n".join(map(escaping.terminal, segment.text.split("\n"))))


out = Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def line(text: str) -> None:
    """Print one line as it is."""
    out.print(escaping.terminal(text), markup=False, soft_wrap=True)


def escape(text: str) -> str:
    """Return text that stands for itself in rich's markup, and in one line."""
    return markup.escape(escaping.terminal(text))


def note(message: str) -> None:
    """Print a remark to stderr."""
    err.print(f"[dim]{escape(message)}[/]")


def lay_out(shown: Console, grid: Table) -> None:
    """Print a table so that nothing is lost: where its words do not fit, or it goes to no terminal, as wide as it is."""
    needed = Measurement.get(shown, shown.options.update(max_width=100_000), grid)
    if not shown.is_terminal or shown.width < needed.minimum:
        grid.width = needed.maximum
    shown.print(grid, crop=False)


@contextmanager
def in_sight(shown: Console, picture: Callable[[], RenderableType], text: Callable[[], str]) -> Iterator[None]:
    """Show how far work is while this lasts: its picture, live in a terminal; elsewhere its line of text now and then."""
    if shown.is_terminal:
        from rich.live import Live

        with Live(get_renderable=picture, console=shown, refresh_per_second=4, transient=True):
            yield
        return
    from nlbench.api import progress

    over = Event()

    def tell() -> None:
        while not over.wait(progress.SELDOM):
            shown.print(f"  {text()}", markup=False)

    Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def write_json(value: Any) -> None:
    """Print a value as JSON."""
    sys.stdout.write(escaping.json_text(json.dumps(value, indent=2, allow_nan=False)) + "\n")


def mean_text(values: Sequence[float | None]) -> str:
    """Return the mean of what was measured, or a dash."""
    known = [value for value in values if value is not None]
    return number_text(sum(known) / len(known)) if known else "–"


def seeds_text(seeds: Sequence[int]) -> str:
    """Return seeds in words."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    run = list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"seeds {seeds[0]} to {seeds[-1]}" if run else f"seeds {', '.join(map(str, seeds))}"


def number_text(value: float) -> str:
    """Return an accuracy-like number with three decimals."""
    return f"{value:.3f}"


def size_text(size: float) -> str:
    """Return bytes in decimal units."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested tables with dotted keys, without those that say nothing."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        elif value not in (None, ""):
            yield f"{prefix}{key}", value
