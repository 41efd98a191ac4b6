"""What can be drawn on a pair of axes, and how axes become an inline SVG or a file. Matplotlib alone, no state."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation, Transform

from nlbench.comparison import Estimate
from nlbench.reporting.theme import GRID, HEAT, INK, MUTED, WASH, Line, task_colour, variables

Draw = Callable[[Axes], None]

_PIXELS: Final = 72  # per inch: one unit of the SVG is one pixel
_CHARACTER: Final = 7.5  # pixels of one in bold
_LONGEST: Final = 24  # characters beside a point
_ABOVE: Final = 14  # points between axes and their title, where numbers of tasks may stand
_MARGINS: Final = (38, 10, 8, 34)  # left, right, top, bottom, in pixels
_SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text stays text: searchable, in the page's font and colour
    "svg.hashsalt": "nlbench",
    "font.size": 11,
    "text.parse_math": False,
    "text.color": INK,
    "path.simplify_threshold": 0.25,
}


@contextmanager
def settings() -> Iterator[None]:
    """Draw with the report's settings; what the caller had set comes back afterwards."""
    with mpl.rc_context(_SETTINGS):
        yield


# on a pair of axes


def frame(axes: Axes, *, x: tuple[float, float], x_label: str, y_label: str) -> None:
    """Prepare axes for accuracies in [0, 1] against a count."""
    low, high = x
    axes.set(xlim=(low - 0.02 * (high - low), high + 0.02 * (high - low)), ylim=(-0.03, 1.03))
    ticks = [tick for tick in MaxNLocator(5, integer=True).tick_values(low, high) if low <= tick <= high]
    _scale(axes, "x", [(tick, f"{tick / 1000:g}k" if high >= 10_000 and tick else f"{tick:g}") for tick in ticks], x_label)
    _scale(axes, "y", [(0, "0"), (0.5, ".5"), (1, "1")], y_label)
    _grid(axes, (0, 0.25, 0.5, 0.75, 1))


def _scale(axes: Axes, side: Literal["x", "y"], ticks: Sequence[tuple[float, str]], label: str) -> None:
    """Write the tick labels and the label of a side. Matplotlib's own axes, switched off, would take longer than all the rest."""
    axes.set_axis_off()
    across = side == "x"
    inch = axes.figure.dpi_scale_trans

    def outside(transform: Transform, pixels: float) -> Transform:
        x, y = (0, -pixels / _PIXELS) if across else (-pixels / _PIXELS, 0)
        return transform + ScaledTranslation(x, y, inch)

    style: dict[str, Any] = {"color": MUTED, **({"ha": "center", "va": "top"} if across else {"ha": "right", "va": "center"})}
    beside = outside(axes.get_xaxis_transform() if across else axes.get_yaxis_transform(), 5)
    for tick, text in ticks:
        x, y = (tick, 0.0) if across else (0.0, tick)
        axes.text(x, y, text, transform=beside, **style)
    x, y = (0.5, 0.0) if across else (0.0, 0.5)
    axes.text(x, y, label, transform=outside(axes.transAxes, 20 if across else 24), rotation=0 if across else 90, **style)


def _grid(axes: Axes, levels: Sequence[float]) -> None:
    x, y = np.tile((0, 1, np.nan), len(levels)), np.repeat(levels, 3)
    _line(axes, x, y, transform=axes.get_yaxis_transform(), color=GRID, linewidth=0.8, zorder=0.5)


def _line(axes: Axes, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, **style: Any) -> None:
    """Add a line; the limits are set, so that nothing has to be scaled to it as `axes.plot` would."""
    axes.add_artist(Line2D(x, y, **style))


def shade(axes: Axes, low: float, high: float) -> None:
    """Shade where a task has not been learned."""
    axes.axvspan(low, high, color=WASH, linewidth=0, zorder=0)


def chance(axes: Axes, level: float) -> None:
    """Draw the accuracy of the best constant label."""
    style = {"color": MUTED, "linewidth": 1, "linestyle": (0, (1, 2.5)), "zorder": 1}
    _line(axes, (0, 1), (level, level), transform=axes.get_yaxis_transform(), **style)


def curve(axes: Axes, x: np.ndarray, mean: np.ndarray, low: np.ndarray, high: np.ndarray, line: Line) -> None:
    """Draw a mean with its interval; a grey line has none."""
    if line.marker and not np.isnan(low).all():
        axes.fill_between(x, low, high, color=line.colour, alpha=0.14, linewidth=0)
    known = np.flatnonzero(~np.isnan(mean)).tolist()
    marked = known[-1 :: -ceil(len(known) / 12)] if known else []
    _line(axes, x, mean, **{**_style(line), "markersize": 5, "markevery": marked})


def switches(axes: Axes, starts: Sequence[float]) -> None:
    """Draw where tasks begin."""
    _line(axes, np.repeat(starts, 3), np.tile((0, 1, np.nan), len(starts)), color=MUTED, linewidth=0.8, alpha=0.6, zorder=1)


def task_curve(axes: Axes, samples: np.ndarray, accuracy: np.ndarray, task: int, n_tasks: int) -> None:
    """Draw one task's accuracy over the stream, its number above the place where it begins."""
    colour = task_colour(task, n_tasks)
    _line(axes, samples, accuracy, color=colour, linewidth=1.5)
    axes.annotate(
        str(task),
        (float(samples[0]), 1.03),
        (3, 0),
        textcoords="offset points",
        color=colour,
        fontweight="bold",
        fontsize=10,
        annotation_clip=False,
    )


def heat_map(axes: Axes, matrix: np.ma.MaskedArray, numbers: bool) -> None:
    """Draw an accuracy matrix (T+1, T); a stepped line parts learned tasks from those ahead, what was not measured is blank."""
    rows, columns = matrix.shape
    axes.imshow(matrix, cmap=HEAT, vmin=0, vmax=1, interpolation="none", aspect="auto")
    steps = np.repeat(np.arange(columns + 1) - 0.5, 2)
    thin = min(1.0, 10 / columns)
    for colour, width in (("#ffffff", 2.6), ("#000000", 1.0)):
        _line(axes, steps[1:], steps[:-1] + 1, color=colour, linewidth=width * thin, solid_joinstyle="miter")
    if numbers:
        dark = _luminance(mpl.colormaps[HEAT](matrix.filled(0))) < 0.4
        for (i, j), value in np.ndenumerate(matrix.filled(np.nan)):
            if not np.isnan(value):
                axes.text(
                    j,
                    i,
                    short(value),
                    ha="center",
                    va="center",
                    fontsize=min(11, 90 / columns),
                    color="#ffffff" if dark[i, j] else "#000000",
                )
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    every = ceil(columns / (10 if numbers else 5))
    tasks = range(every, columns + 1, every)
    _scale(axes, "x", [(task - 1, str(task)) for task in tasks], "accuracy on task")
    _scale(axes, "y", [(task, str(task)) for task in (0, *tasks)], "tasks learned")


def _luminance(colours: np.ndarray) -> np.ndarray:
    return colours[..., :3] @ np.array([0.2126, 0.7152, 0.0722])


def short(value: float) -> str:
    """Return a share as a cell of a matrix shows it: `.97`, `0`, `1`."""
    text = f"{value:.2f}"
    return "1" if text == "1.00" else "0" if text == "0.00" else text.removeprefix("0")


class Point(NamedTuple):
    """A learner in a plot of accuracy against a cost."""

    label: str
    cost: float
    accuracy: Estimate
    line: Line
    on_front: bool


def scatter(axes: Axes, points: Sequence[Point], x_label: str, text: Callable[[float], str]) -> None:
    """Draw points with intervals and their Pareto front, cost on a logarithmic scale on which 0 has a place of its own."""
    positive = [point.cost for point in points if point.cost > 0] or [1.0]
    floor = np.log10(min(positive)) - 0.5
    places = [np.log10(point.cost) if point.cost > 0 else floor for point in points]
    means = [float(point.accuracy.mean or 0) for point in points]
    span = max(max(places) - min(places), 0.6)
    left, right = min(places) - 0.12 * span, max(places) + 0.22 * span
    lows = [mean if point.accuracy.low is None else point.accuracy.low for mean, point in zip(means, points, strict=True)]
    highs = [mean if point.accuracy.high is None else point.accuracy.high for mean, point in zip(means, points, strict=True)]
    pad = 0.1 * max(max(highs) - min(lows), 0.05)
    axes.set(xlim=(left, right), ylim=(min(lows) - pad, max(highs) + pad))
    ticks = _decades(min(positive), max(positive))
    zero = [] if len(positive) == len(points) else [floor]
    levels = [
        level for level in MaxNLocator(5).tick_values(*axes.get_ylim()) if axes.get_ylim()[0] <= level <= axes.get_ylim()[1]
    ]
    _scale(axes, "x", [*((place, "0") for place in zero), *((float(np.log10(tick)), text(tick)) for tick in ticks)], x_label)
    _scale(axes, "y", [(level, f"{level:.3g}") for level in levels], "average accuracy")
    _grid(axes, levels)
    front = sorted((place, mean) for place, mean, point in zip(places, means, points, strict=True) if point.on_front)
    if front:
        x, y = zip(*front, (right, front[-1][1]), strict=True)
        _line(axes, x, y, drawstyle="steps-post", color=MUTED, linewidth=1, zorder=1)
    for place, mean, low, high, point in zip(places, means, lows, highs, points, strict=True):
        _line(axes, (place, place), (low, high), color=point.line.colour, linewidth=1.2)
        size = 8 if point.line.marker else 4
        _line(axes, (place,), (mean,), color=point.line.colour, marker=point.line.marker or "o", markersize=size)
    _name_points(
        axes, [(place, mean, point.label) for place, mean, point in zip(places, means, points, strict=True) if point.line.marker]
    )


def elided(label: str, most: int) -> str:
    """Return a label of so many characters at most, its middle left out where it is longer."""
    return label if len(label) <= most else f"{label[: most - most // 2 - 1]}…{label[len(label) - most // 2 :]}"


def _name_points(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write each label beside its point, where it covers no other label and no point if there is such a place."""
    pixels = axes.transData.transform([(x, y) for x, y, _ in points])
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in pixels.tolist()]
    for (x, y), (place, mean, whole) in zip(pixels.tolist(), points, strict=True):
        label = elided(whole, _LONGEST)
        width = 6.4 * len(label)
        choices = (
            ("left", 6, 6),
            ("right", -9, -4),
            ("right", -6, 6),
            ("center", 0, 9),
            ("left", 9, -4),
            ("left", 7, -16),
            ("center", 0, -18),
        )
        boxes = []
        for align, dx, dy in choices:
            start = x + dx - {"left": 0, "center": width / 2, "right": width}[align]
            boxes.append((start, y + dy, start + width, y + dy + 11))
        best = min(range(len(boxes)), key=lambda index: (sum(_overlap(boxes[index], other) for other in taken), index))
        align, dx, dy = choices[best]
        taken.append(boxes[best])
        axes.annotate(label, (place, mean), (dx, dy), textcoords="offset points", ha=align, fontsize=11, annotation_clip=False)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _decades(low: float, high: float) -> list[float]:
    """Return round numbers from low to high, at most five: powers of ten, or 1, 2, 5 times them on a short range."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
        ticks = [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]
        if len(ticks) >= 2:
            return ticks[:: ceil(len(ticks) / 5)]
    return [low] if low == high else [low, high]


def seconds_text(seconds: float) -> str:
    """Return a time for an axis."""
    return f"{seconds:.2g} s" if seconds < 60 else f"{seconds / 60:.2g} min" if seconds < 3600 else f"{seconds / 3600:.2g} h"


# out of a pair of axes


def inline(draw: Draw, size: tuple[float, float], alt: str, name: str) -> str:
    """Return an SVG element in the page's own colours and font; `name` makes its ids unique on the page."""
    canvas = _canvas(size)
    (axes,) = canvas.axes
    empty = set(axes.get_children())
    try:
        draw(axes)
        svg = _svg(canvas)
    finally:
        for artist in set(axes.get_children()) - empty:
            artist.remove()
    return _element(svg, f'role="img" aria-label="{html.escape(alt)}" style="max-width:{size[0] * 1.3:.0f}px"', name)


@cache
def _canvas(size: tuple[float, float]) -> Canvas:
    """Return a canvas with a pair of empty axes: to make one takes longer than to draw on it."""
    width, height = size
    left, right, top, bottom = _MARGINS
    canvas = Canvas(figsize=(width / _PIXELS, height / _PIXELS), dpi=_PIXELS)
    canvas.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))
    return canvas


def swatch(line: Line, name: str) -> str:
    """Return a piece of a line with its marker, for a legend on the page; `name` makes its ids unique there."""
    return _element(_swatch(line), 'aria-hidden="true" class="swatch"', name)


@cache
def _swatch(line: Line) -> str:
    canvas = Canvas(figsize=(34 / _PIXELS, 12 / _PIXELS), dpi=_PIXELS)
    canvas.add_artist(Line2D([0.03, 0.5, 0.97], [0.5] * 3, markevery=[1], **_style(line)))
    return _svg(canvas)


def _style(line: Line) -> dict[str, Any]:
    marker = {"marker": line.marker, "markersize": 6} if line.marker else {}
    return {"color": line.colour, "linewidth": line.width, "linestyle": line.dash, **marker}


def _svg(canvas: Canvas) -> str:
    text = io.StringIO()
    canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return text.getvalue()


_DROPPED: Final = re.compile(
    r"<metadata>.*?</metadata>|<style.*?</style>|<defs>\s*</defs>|font-family: [^;\"]*;? ?| transform=\"rotate\(-0 [^\"]*\"",
    re.DOTALL,
)
_COORDINATES: Final = re.compile(r' (?:d|x|y)="[^"]*"')
_NUMBER: Final = re.compile(r"-?\d+\.\d{2,}")
_IDENTITY: Final = re.compile(r' id="([^"]*)"')
_REFERENCE: Final = re.compile(r"(?<=[\"(])#([\w.-]+)(?=[\")])")


def _element(svg: str, attributes: str, name: str) -> str:
    """Return matplotlib's file as an element: no header or unused ids, tenths of a pixel, colours as the page's variables."""
    body = svg[svg.index("<svg") :]
    view = re.search(r'viewBox="[^"]*"', body)
    assert view is not None
    body = _DROPPED.sub("", body[body.index(">") + 1 :])
    body = _COORDINATES.sub(lambda found: _NUMBER.sub(lambda number: f"{float(number[0]):.1f}", found[0]), body)
    used = set(_REFERENCE.findall(body))
    body = _IDENTITY.sub(lambda found: f' id="{name}{found[1]}"' if found[1] in used else "", body)
    body = _REFERENCE.sub(rf"#{name}\1", body)
    body = re.sub(r"\s*\n\s*", " ", variables(body)).replace("> <", "><")
    return f'<svg {view[0]} xmlns:xlink="http://www.w3.org/1999/xlink" {attributes}>{body.strip()}'


_UNDATED: Final = {"svg": ("Date",), "png": ("Software",), "pdf": ("CreationDate", "Creator", "Producer")}
"""What each kind of file would say of when and with what it was drawn: left out, so that equal figures are equal files."""


def export(
    path: Path, panels: Sequence[tuple[str, Draw, tuple[float, float]]], legend: Sequence[tuple[str, Line]], *, scale: bool
) -> list[Path]:
    """Write all panels side by side as `path`.svg, .png and .pdf, with a legend or the heat maps' scale; return the paths."""
    columns = min(3, len(panels))
    rows = ceil(len(panels) / columns)
    width, height = panels[0][2]
    size = (columns * width / _PIXELS, (rows * (height + 24) + 18 * ceil(len(legend) / 4)) / _PIXELS)
    canvas = Canvas(figsize=size, dpi=_PIXELS, layout="constrained", facecolor="white")
    grid = canvas.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, draw, _) in zip(grid, panels, strict=False):
        draw(axes)
        axes.set_title(elided(title, round(width / _CHARACTER)), fontsize=11, fontweight="bold", loc="left", pad=_ABOVE)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    if legend:
        handles = [Line2D([], [], label=label, **_style(line)) for label, line in legend]
        canvas.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    if scale:
        canvas.colorbar(mpl.cm.ScalarMappable(cmap=HEAT), ax=list(grid), label="accuracy", fraction=0.03)
    written = {path.with_name(f"{path.name}.{kind}"): undated for kind, undated in _UNDATED.items()}
    with mpl.rc_context({"svg.fonttype": "path", "pdf.fonttype": 42}):  # readable without the fonts; TrueType, as journals ask
        for file, undated in written.items():
            canvas.savefig(file, dpi=200 if file.suffix == ".png" else _PIXELS, metadata=dict.fromkeys(undated))
    return list(written)
