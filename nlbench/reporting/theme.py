"""The colours of a report: one name, a light and a dark value each. Figures are drawn in the light ones; the page swaps them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
from matplotlib.colors import to_hex

INK, MUTED, GRID, WASH, OTHERS = "#1d2330", "#5d6675", "#dfe3ea", "#edf0f5", "#b4bbc8"

# Hues that stay apart for colour-blind readers (after Okabe & Ito 2008), each with a marker and a dash of its own.
_SERIES: Final = (
    ("#0b6bb5", "#5db4f0", "o", "-"),
    ("#c9510c", "#ff9a57", "s", "--"),
    ("#0a7f62", "#35cfa4", "^", "-."),
    ("#a8407f", "#ee9fcd", "D", ":"),
    ("#7a5c00", "#e3c64a", "v", (0, (6, 1.5))),
    ("#4b4aa8", "#aeadff", "P", (0, (3, 1, 1, 1, 1, 1))),
)
MOST_LEARNERS: Final = len(_SERIES)
"""Learners that can stand out in one figure."""

HEAT: Final = "viridis"  # perceptually uniform, readable without red and green
_STEPS: Final = 12


def _ramp(low: float, high: float) -> list[str]:
    cmap = mpl.colormaps[HEAT]
    return [to_hex(cmap(low + (high - low) * step / (_STEPS - 1))) for step in range(_STEPS)]


# the ends of the map that would vanish on the page (contrast below 3) are left out
_TASKS: Final = tuple(zip(_ramp(0.0, 0.59), _ramp(0.38, 1.0), strict=True))

COLOURS: Final[dict[str, tuple[str, str]]] = {
    "ink": (INK, "#e8ebf2"),
    "muted": (MUTED, "#a0a9b8"),
    "grid": (GRID, "#2d3442"),
    "wash": (WASH, "#212836"),
    "others": (OTHERS, "#4f586a"),
    **{f"series-{index}": (light, dark) for index, (light, dark, *_) in enumerate(_SERIES)},
    **{f"task-{index}": pair for index, pair in enumerate(_TASKS)},
}
"""Name of the CSS variable -> light, dark. Each light value is one colour of the figures and no other."""

PAGE: Final[dict[str, tuple[str, str]]] = {
    "page": ("#f5f6f9", "#0e1117"),
    "card": ("#ffffff", "#161b24"),
    "edge": ("#d6dbe4", "#2a3140"),
    "link": ("#0b6bb5", "#7cc0f5"),
    "bar": ("#9cc7ea", "#2f5f88"),
    "warn": ("#9a4a00", "#ffb878"),
    "warn-back": ("#fdeedd", "#3a2a1a"),
    "code": ("#f1f3f7", "#1d2430"),
}
"""The page's own variables; no figure is drawn in these."""

_VARIABLE: Final = {light: f"var(--{name})" for name, (light, _) in COLOURS.items()}
_DRAWN: Final = re.compile("|".join(_VARIABLE))


@dataclass(frozen=True)
class Line:
    """How a learner is drawn."""

    colour: str
    marker: str
    dash: Any
    width: float

    @classmethod
    def of(cls, style: int | None) -> Line:
        """Return the line of a style, or the thin grey one of the learners that do not stand out."""
        if style is None:
            return cls(OTHERS, "", "-", 0.8)
        colour, _, marker, dash = _SERIES[style]
        return cls(colour, marker, dash, 1.7)


def task_colour(task: int, n_tasks: int) -> str:
    """Return the colour of a task: early ones dark, late ones light."""
    return _TASKS[round((task - 1) / max(1, n_tasks - 1) * (_STEPS - 1))][0]


def variables(svg: str) -> str:
    """Return the SVG with its colours replaced by the page's variables."""
    return _DRAWN.sub(lambda found: _VARIABLE[found[0]], svg)


def declarations(mode: int) -> str:
    """Return the CSS declarations of all colours: 0 light, 1 dark."""
    return "".join(f"--{name}:{pair[mode]};" for name, pair in (COLOURS | PAGE).items())


def gradient(stops: int = 9) -> str:
    """Return the heat map's colours as a CSS gradient, 0 to 1."""
    cmap = mpl.colormaps[HEAT]
    colours: Sequence[str] = [to_hex(cmap(stop / (stops - 1))) for stop in range(stops)]
    return f"linear-gradient(90deg,{','.join(colours)})"


def heat(share: float) -> tuple[str, str]:
    """Return the heat map's colour for a share in [0, 1], and black or white, whichever has more contrast on it."""
    red, green, blue, _ = mpl.colormaps[HEAT](share)
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return to_hex((red, green, blue)), "#000000" if luminance > 0.179 else "#ffffff"
