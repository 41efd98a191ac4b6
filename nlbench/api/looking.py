"""What a stream looks like. Imports torch when it looks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nlbench.launching import running_half
from nlbench.plan import DeclaredStream, Machine, resolve

if TYPE_CHECKING:
    from nlbench.streams.looking import Look


def look(
    stream: str | DeclaredStream, *, seed: int = 0, data: str | Path | None = None, figures: str | Path | None = None
) -> Look:
    """Return sizes, labels, class order, drift and samples of a stream's first tasks, and what it should not be, for one seed;
    draw the samples into the folder `figures` where one is given. Raises `DataError` if its data cannot be had.
    """
    half = running_half()
    from nlbench.streams.looking import look as looked

    plan = resolve("chance", stream, seeds=(seed,))
    machine = Machine(device="cpu", data=None if data is None else Path(data))
    found = looked(half.build_stream(plan, machine))
    if plan.declared.source is not None:
        found = replace(found, label_names=plan.declared.source.label_names)
    if figures is not None:
        from nlbench.reporting.samples import draw

        draw(found, Path(figures))
    return found
