"""A stream's samples as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from nlbench.errors import NlbenchError

if TYPE_CHECKING:
    from nlbench.streams.looking import Look


def draw(look: Look, folder: Path) -> Path:
    """Write `<stream>.samples.png` into a folder, a row a task, and return it. Raises `NlbenchError` where none is an image."""
    rows = [task for task in look.tasks if task.samples is not None]
    if not rows:
        raise NlbenchError(f"{look.name}: its samples are no images, so that there is nothing to draw.", "Leave --figures out.")
    width = max(len(task.samples) for task in rows if task.samples is not None)
    figure = Figure(figsize=(0.7 * width + 1.2, 0.7 * len(rows)))
    axes = figure.subplots(len(rows), width, squeeze=False)
    for task, line in zip(rows, axes, strict=True):
        assert task.samples is not None
        for place in line:
            place.set_axis_off()
        for place, sample in zip(line, task.samples, strict=False):
            place.imshow(sample, cmap="gray", vmin=0, vmax=1)
        line[0].set_title(f"task {task.number}", loc="left", fontsize=7, pad=2)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{look.name}.samples.png"
    figure.savefig(path, dpi=120)
    return path
