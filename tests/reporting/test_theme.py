"""Colours that can be read and told apart."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from nlbench.reporting import theme


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(colour)]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_and_lines_stand_out_from_the_page(mode):
    for ground in ("card", "page"):
        behind = theme.PAGE[ground][mode]
        for name, pair in theme.COLOURS.items():
            least = 4.5 if name in ("ink", "muted") else 3.0 if name.startswith(("series", "task")) else 1.0
            if ground == "card" or least == 4.5:
                assert contrast(pair[mode], behind) >= least, (name, pair[mode], behind)
    assert contrast(theme.PAGE["link"][mode], theme.PAGE["card"][mode]) >= 4.5
    assert contrast(theme.PAGE["warn"][mode], theme.PAGE["warn-back"][mode]) >= 4.5


def test_lines_differ_without_colour():
    lines = [theme.Line.of(style) for style in range(theme.MOST_LEARNERS)]
    assert len({line.marker for line in lines}) == len({str(line.dash) for line in lines}) == len(lines)


def test_ink_can_be_read_on_every_colour_of_the_heat_map():
    assert min(contrast(*theme.heat(share)) for share in np.linspace(0, 1, 201)) >= 4.5
