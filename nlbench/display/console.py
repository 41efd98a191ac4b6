"""The two consoles, and numbers, sizes and seeds as text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

out = Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def line(text: str) -> None:
    """Print one line as it is."""
    out.print(text, markup=False, soft_wrap=True)


def note(message: str) -> None:
    """Print a remark to stderr."""
    err.print(f"[dim]{escape(message)}[/]")


def lay_out(console: Console, grid: Table) -> None:
    """Print a table so that nothing is lost: where its words do not fit, or it goes to no terminal, as wide as it is."""
    needed = Measurement.get(console, console.options.update(max_width=100_000), grid)
    if not console.is_terminal or console.width < needed.minimum:
        grid.width = needed.maximum
    console.print(grid, crop=False)


def write_json(value: Any) -> None:
    """Print a value as JSON."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


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
