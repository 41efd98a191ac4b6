"""Progress in words, and a line of it that is always the latest, in a terminal or a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from nlbench.runner.pace import Moment

SELDOM: Final = 30.0
"""Seconds between two lines where lines pile up, as in the log of a job."""

Watcher = Callable[["Moment"], None]


def in_words(moment: Moment) -> str:
    """Return where a run stands: task, samples, loss, rate and time left, as far as they are known."""
    parts = [f"task {moment.task}/{moment.tasks}", f"{moment.samples:,}/{moment.total:,} samples"]
    parts += [f"loss {moment.loss:.3f}"] if moment.loss is not None else []
    parts += [f"{moment.rate:,.0f}/s"] if moment.rate is not None else []
    parts += [f"{clock(moment.left)} left"] if moment.left is not None else []
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Return a duration as minutes:seconds, or hours:minutes:seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Line:
    """Writes moments to a stream of text: over one another where that shows, in a terminal or a notebook, otherwise one line in
    thirty seconds.
    """

    def __init__(self, name: str, out: TextIO | None = None) -> None:
        self._name = name
        self._out = out or sys.stderr
        self._live = self._out.isatty() or "ipykernel" in sys.modules
        self._written = 0
        self._at = monotonic()

    def __call__(self, moment: Moment) -> None:
        """Show a moment; the last one of a run ends the line."""
        text = f"{self._name}: {in_words(moment)}"
        if self._live:
            ended = moment.samples == moment.total
            self._out.write(f"\r{text.ljust(self._written)}{chr(10) * ended}")
            self._written = len(text)
        elif monotonic() - self._at >= SELDOM:
            self._out.write(f"{text}\n")
            self._at = monotonic()
        self._out.flush()


def watcher(progress: bool | Watcher, name: str) -> Watcher | None:
    """Return who is shown moments: a line of its own for True, nobody for False, or whoever is given."""
    return Line(name) if progress is True else progress or None
