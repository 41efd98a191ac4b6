"""Verdicts as a page: HTML that needs nothing but itself, or Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined

from nlbench.errors import NlbenchError
from nlbench.escaping import printable
from nlbench.records.store import replace_file
from nlbench.reporting.page import fit_names
from nlbench.reporting.sections import template
from nlbench.verify.claims import Chapter
from nlbench.verify.model import Finding, Verdict
from nlbench.verify.running import Judged
from nlbench.verify.statements import Statement, Value
from nlbench.verify.words import expected, interval, reduction

ORDER: Final[dict[Verdict, tuple[str, str]]] = {
    "holds": ("holds", "hold"),
    "does not hold": ("does not hold", "do not hold"),
    "undecided": ("is undecided", "are undecided"),
    "not comparable": ("is not comparable", "are not comparable"),
}
"""Verdicts in the order of a page, and what is said of one claim and of several."""

CHAPTERS: Final[dict[Chapter, str]] = {
    "hope": "HOPE, as it is in this package",
    "nested-learning": "Nested Learning, in miniature",
    "field": "The field",
}
Text = Callable[[object], str]


def write_page(judged: Sequence[Judged], path: Path | str) -> Path:
    """Return the page that was written: HTML or Markdown, by its suffix. Raises `NlbenchError` for another."""
    path = Path(path)
    refuse_suffix(path)
    return replace_file(path, page(judged, markdown=path.suffix == ".md").encode())


def refuse_suffix(path: Path) -> None:
    """Raise `NlbenchError` for a page that is neither HTML nor Markdown: before hours of runs, not after."""
    if path.suffix not in (".html", ".md"):
        raise NlbenchError(f"{path}: a page is HTML or Markdown.", "Name it as page.html or page.md.")


def page(judged: Sequence[Judged], *, markdown: bool = False) -> str:
    """Return the page's text: HOPE's own claims first, and in each chapter what holds."""
    if markdown:
        source = files(__package__).joinpath("page.md.j2").read_text(encoding="utf-8")
        environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
        layout = environment.from_string(source)
    else:
        layout = template("page.html.j2", "nlbench.verify")
    text: Text = _in_a_table if markdown else str
    found = sorted(judged, key=lambda each: (list(ORDER).index(each.verdict), each.name))
    anchors = fit_names([each.name for each in found])
    placed = list(zip(found, anchors, strict=True))
    chapters = [
        (heading, [_shown(each, anchor, text) for each, anchor in placed if each.claim.chapter == name])
        for name, heading in CHAPTERS.items()
    ]
    return layout.render(
        chapters=[chapter for chapter in chapters if chapter[1]],
        total=len(judged),
        counts=_counts([each.verdict for each in judged]),
        published=_published(judged),
        reduced=any(each.reduced for each in judged),
    )


def _counts(verdicts: Sequence[Verdict]) -> str:
    """Return how many claims there are of each verdict, in words."""
    counts = {words: verdicts.count(verdict) for verdict, words in ORDER.items() if verdict in verdicts}
    return ", ".join(f"{count} {one if count == 1 else several}" for (one, several), count in counts.items())


def _published(judged: Sequence[Judged]) -> str:
    """Return how many published numbers were tried and what was found of them, in words; nothing where none was."""
    found = [
        one.verdict
        for each in judged
        if not each.reduced
        for statement, one in zip(each.claim.holds, each.findings, strict=True)
        if isinstance(statement, Value) and one.mean is not None
    ]
    said = {"holds": "lie within their band with their whole interval", "does not hold": "outside", "undecided": "partly within"}
    counts = ", ".join(f"{found.count(verdict)} {words}" for verdict, words in said.items() if verdict in found)
    return f"Of {len(found)} published numbers {counts}." if found else ""


def _shown(each: Judged, anchor: str, text: Text) -> dict[str, Any]:
    """Return a claim as what the page says of it under an anchor."""
    claim, source = each.claim, each.claim.source
    return {
        "anchor": anchor,
        "title": text(claim.title),
        "statement": text(claim.statement),
        "verdict": each.verdict,
        "reduced": each.reduced,
        "published": sum(isinstance(statement, Value) for statement in claim.holds) if each.reduced else 0,
        "source": text(", ".join(part for part in (source.paper, source.place) if part)),
        "note": text(source.note),
        "search": text(claim.search),
        "reduction": text(reduction(claim.quick)) if each.reduced and claim.quick else "",
        "command": text(each.command),
        "findings": [
            (text(one.statement), text(_verdict(statement, one)), interval(one), expected(one), one.seeds or "–")
            for statement, one in zip(claim.holds, each.findings, strict=True)
            if not (each.reduced and isinstance(statement, Value) and each.cells)
        ],
        "cells": [
            (
                text(name),
                text(cell.model),
                text(cell.stream),
                "; ".join(f"{metric.replace('_', ' ')} {interval(value)}" for metric, value in cell.values.items()),
                "–" if cell.seconds is None else f"{cell.seconds:.1f}",
            )
            for name, cell in each.cells.items()
        ],
    }


def _verdict(statement: Statement, finding: Finding) -> str:
    """Return the verdict, its reason and, of a number that was missed, the cause that the claim names."""
    known = statement.cause if isinstance(statement, Value) and finding.verdict in ("does not hold", "undecided") else ""
    return f"{finding.verdict}: {finding.reason}{known and f'. {known}'}"


def _in_a_table(text: object) -> str:
    """Return text in one line that Markdown shows as it is."""
    plain = printable(str(text)).replace("&", "&amp;").replace("<", "&lt;")
    return plain.replace("|", "\\|").replace("`", "\\`").replace("*", "\\*")
