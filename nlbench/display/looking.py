"""What a stream looks like, in the terminal: a table of its tasks, and samples of each in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.style import Style
from rich.table import Table
from rich.text import Text

from nlbench.display.console import escape, lay_out, out

if TYPE_CHECKING:
    from nlbench.streams.looking import Look

WIDEST: Final = 16
"""Columns of one sample."""

NAMED: Final = 20
"""Labels whose names are told."""

DRAWN: Final = 6
"""Samples of a task in a row."""

_RAMP: Final = " .:-=+*#%@"


def look(found: Look) -> None:
    """Print a look."""
    shape = " x ".join(map(str, found.input_shape))
    out.print(
        f"[bold]{escape(found.name)}[/]: {found.n_tasks} tasks, {found.scenario}, samples {shape}, {found.n_classes} logits"
    )
    if found.class_order:
        out.print(f"class order {', '.join(map(str, found.class_order))}", markup=False, soft_wrap=True)
    if found.label_names:
        named = [f"{label} {name}" for label, name in enumerate(found.label_names[:NAMED])]
        more = len(found.label_names) - len(named)
        out.print(f"labels {', '.join(named)}{f' and {more} more' if more else ''}", markup=False, soft_wrap=True)
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("task", "train", "test", "drift", "labels"):
        grid.add_column(column, justify="left" if column == "labels" else "right")
    for task in found.tasks:
        grid.add_row(str(task.number), f"{task.train:,}", f"{task.test:,}", f"{task.drift:.2f}", task.labels_text)
    lay_out(out, grid)
    if found.n_tasks > len(found.tasks):
        out.print(f"and {found.n_tasks - len(found.tasks)} more", style="dim")
    for task in found.tasks:
        if task.samples is not None:
            out.print(f"task {task.number}", style="dim")
            out.print(drawn(task.samples[:DRAWN], out.color_system is not None), soft_wrap=True)
    for fault in found.faults:
        out.print(Text(f"{fault}.", style="bold"), soft_wrap=True)


def drawn(samples: Any, coloured: bool) -> Text:
    """Return grey images (k, h, w) in [0, 1] beside each other, two rows of pixels a line: in shades, or in signs."""
    step = -(-samples.shape[2] // WIDEST)
    small = samples[:, ::step, ::step]
    text = Text()
    for row in range(0, small.shape[1], 2):
        for sample in small:
            below = sample[min(row + 1, len(sample) - 1)]
            for upper, lower in zip(sample[row].tolist(), below.tolist(), strict=True):
                text.append(*_cell(upper, lower, coloured))
            text.append("  ")
        text.append("\n")
    return text


def _cell(upper: float, lower: float, coloured: bool) -> tuple[str, Style]:
    if not coloured:
        return _RAMP[round((upper + lower) / 2 * (len(_RAMP) - 1))], Style()
    shades = (f"rgb({round(255 * value)},{round(255 * value)},{round(255 * value)})" for value in (upper, lower))
    return "\N{UPPER HALF BLOCK}", Style(color=next(shades), bgcolor=next(shades))
