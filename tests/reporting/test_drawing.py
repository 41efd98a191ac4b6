"""Figures as SVG on a page and as files."""

from __future__ import annotations

import re
import warnings
from xml.etree import ElementTree

from nlbench.comparison.model import Estimate
from nlbench.reporting import drawing, theme


def test_ids_are_unique_and_references_resolve(page):
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'(?:href="|url\()#([^")]+)', page)) | set(re.findall(r'aria-labelledby="([^"]*)"', page))
    assert references
    assert references <= set(ids)


def test_figures_as_files(written, records):
    names = [path.name for path in written[1:]]
    kinds = ("matrices", "forgetting", "stability-gap", "pareto")
    expected = {f"split-digits.{kind}.{form}" for kind in kinds for form in ("svg", "png", "pdf")}
    assert expected <= set(names)
    assert not [name for name in names if name.startswith("permuted-digits.stability-gap")]
    for path in written[1:]:
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        elif path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
        else:
            data = path.read_bytes()
            assert data.startswith(b"%PDF")
            assert not [said for said in (b"CreationDate", b"Matplotlib", b"/Type3") if said in data]


def test_long_names_leave_their_figures_room(tmp_path):
    """Else the layout gives up, with matplotlib's warning, and axes have no width."""
    name = "Network[kind=my_network.py:Network,learner=f58ce236]"
    half = Estimate(0.5, 0.4, 0.6, 0.1, 3)
    points = [drawing.Point(f"{name}{n}", 10.0**n, half, theme.Line.of(n), True) for n in range(4)]

    def draw(axes):
        drawing.scatter(axes, points, "seconds", drawing.seconds_text)

    with warnings.catch_warnings(action="error"):
        drawing.export(tmp_path / "long", [(name, draw, (300, 280))] * 3, [], scale=False)


def test_names_too_long_for_their_place_lose_their_middle():
    assert drawing.elided("Network[kind=my_network.py:Network,learner=f58ce236]", 24) == "Network[kin…er=f58ce236]"
    assert drawing.elided("mlp", 24) == "mlp"


def test_colours_on_the_page_follow_its_mode(page):
    svgs = "".join(re.findall(r"<svg .*?</svg>", page, re.DOTALL))
    assert "var(--series-0)" in svgs
    assert "var(--ink)" in svgs
    assert not [light for light, _ in theme.COLOURS.values() if light in svgs]
    used = set(re.findall(r"var\(--([\w-]+)\)", page)) - {"share"}
    for mode in (0, 1):
        declared = dict(re.findall(r"--([\w-]+):(#\w+)", theme.declarations(mode)))
        assert used <= declared.keys()
