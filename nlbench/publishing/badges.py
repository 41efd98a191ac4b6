"""A badge: what a learner keeps and forgets on a stream, in one line of SVG."""

from __future__ import annotations

from functools import cache
from typing import Final

from jinja2 import Template

from nlbench.comparison import Entry
from nlbench.comparison.chance import WORDS
from nlbench.publishing.board import Item
from nlbench.reporting.sections import template

_CHARACTER: Final = 6.6  # pixels, of a sans serif of 11
_PADDING: Final = 14
_LONGEST: Final = 60


def badge(item: Item) -> str:
    """Return an SVG image that says an item's learner and stream, its average accuracy and its forgetting."""
    name, value = _short(f"{item.entry.label} on {item.group.stream}"), _value(item.entry)
    left, right = (round(_CHARACTER * len(text)) + _PADDING for text in (name, value))
    return _template().render(name=name, value=value, left=left, right=right, warn=item.entry.learned in WORDS)


def _value(entry: Entry) -> str:
    said = [
        f"{metric.rpartition('_')[2]} {mean:.3f}"
        for metric in ("average_accuracy", "forgetting")
        if (mean := entry.estimates[metric].mean) is not None
    ]
    warning = [WORDS[entry.learned]] if entry.learned in WORDS else []
    return ", ".join([*said, *warning]) or "not measured"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


@cache
def _template() -> Template:
    return template("badge.svg.j2", "nlbench.publishing")
