"""Figures as SVG on a page and as files."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from nlbench.reporting import theme


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


def test_colours_on_the_page_follow_its_mode(page):
    svgs = "".join(re.findall(r"<svg .*?</svg>", page, re.DOTALL))
    assert "var(--series-0)" in svgs
    assert "var(--ink)" in svgs
    assert not [light for light, _ in theme.COLOURS.values() if light in svgs]
    used = set(re.findall(r"var\(--([\w-]+)\)", page)) - {"share"}
    for mode in (0, 1):
        declared = dict(re.findall(r"--([\w-]+):(#\w+)", theme.declarations(mode)))
        assert used <= declared.keys()
