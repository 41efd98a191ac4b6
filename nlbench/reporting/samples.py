"""What a stream looks like: its samples as a picture, and what a page opens with."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from nlbench.errors import NlbenchError
from nlbench.reporting.sections import Cell, Line

if TYPE_CHECKING:
    from nlbench.streams.looking import Look


def draw(look: Look, folder: Path) -> Path:
    """Write `<stream>.samples.png` into a folder, a row a task, and return it. Raises `NlbenchError` where none is an image."""
    figure = _figure(look)
    if figure is None:
        raise NlbenchError(f"{look.name}: its samples are no images, so that there is nothing to draw.", "Leave --figures out.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{look.name}.samples.png"
    figure.savefig(path, dpi=120)
    return path


def opening(look: Look) -> dict[str, Any]:
    """Return what a page opens a stream's section with: what it is in words, a table of its tasks, what it should not be, and its
    samples as a PNG in base64, "" where they are no images.
    """
    order = f"; class order {', '.join(map(str, look.class_order))}" if look.class_order else ""
    content, figure = BytesIO(), _figure(look)
    if figure is not None:
        figure.savefig(content, dpi=96, metadata={"Software": None})
    return {
        "words": f"samples {' × '.join(map(str, look.input_shape))}; {look.n_classes} classes{order}",
        "header": ["task", "training samples", "test samples", "drift", "labels"],
        "lines": [
            Line(
                (*map(Cell, (str(task.number), f"{task.train:,}", f"{task.test:,}", f"{task.drift:.2f}")), Cell(task.labels_text))
            )
            for task in look.tasks
        ],
        "left": look.n_tasks - len(look.tasks),
        "faults": look.faults,
        "picture": b64encode(content.getvalue()).decode(),
    }


def _figure(look: Look) -> Figure | None:
    """Return a row of samples a task; None where they are no images."""
    rows = [(task.number, task.samples) for task in look.tasks if task.samples is not None]
    if not rows:
        return None
    width = max(len(samples) for _, samples in rows)
    figure = Figure(figsize=(0.7 * width + 1.2, 0.7 * len(rows)))
    for (number, samples), line in zip(rows, figure.subplots(len(rows), width, squeeze=False), strict=True):
        for place in line:
            place.set_axis_off()
        for place, sample in zip(line, samples, strict=False):
            place.imshow(sample, cmap="gray", vmin=0, vmax=1)
        line[0].set_title(f"task {number}", loc="left", fontsize=7, pad=2)
    return figure
