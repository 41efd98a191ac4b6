"""A group of learners as what a page shows of it: tables of cells, figures as SVG, provenance. Templates only lay it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final, Literal

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from nlbench import escaping
from nlbench.comparison import Entry, Group, learner_table, paired_table, remarks
from nlbench.comparison.chance import WORDS
from nlbench.records import Execution, terms
from nlbench.records.facts import flatten
from nlbench.reporting import drawing, theme
from nlbench.reporting.figures import Figure, legend_of_tasks
from nlbench.reporting.rerun import rerun, seeds_text

_IDENTITY: Final = frozenset(
    {"fingerprint", "protocol_version", "stream_digest", "learner_digest", "source_digest", "code", "precision", "data"}
)
_OF_EXECUTION: Final = frozenset({"created", "seeds", "backend", "device", "gpu", "threads", "environment"})


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, the length of its bar where the value is a share, and a warning or role.

    key   what it is sorted by; null: its text, "": it has no value and stands last
    href  where its text leads
    kind  how it is set: a number, a word, or words that may wrap
    """

    text: str
    share: float | None = None
    mark: str = ""
    key: float | str | None = None
    href: str = ""
    kind: Literal["", "word", "text"] = ""


@dataclass(frozen=True)
class Line:
    """A row of a table, and the facts that it can be chosen by."""

    cells: tuple[Cell, ...]
    facts: Mapping[str, str] = field(default_factory=dict)


def template(name: str, *packages: str) -> Template:
    """Return a template of this package or of `packages`, which are looked through first. All that it is given is escaped."""

    def load(wanted: str) -> str | None:
        found = (files(package).joinpath(wanted) for package in (*packages, "nlbench.reporting"))
        return next((one.read_text(encoding="utf-8") for one in found if one.is_file()), None)

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(load)
    )
    environment.filters["words"] = lambda text: text.replace("_", " ")
    environment.filters["md"] = escaping.markdown
    environment.globals.update(light=theme.declarations(0), dark=theme.declarations(1), gradient=theme.gradient())
    return environment.get_template(name)


def section(group: Group, drawn: Sequence[Figure], name: str) -> dict[str, Any]:
    """Return what a page says of a group under the anchor `name`: its learners, paired tests, remarks and figures."""
    return {
        "id": name,
        "group": group,
        "unlearned": [
            (words, labels)
            for said, words in WORDS.items()
            if (labels := [entry.label for entry in group.entries if entry.learned == said])
        ],
        "learners": learner_table(group).header,
        "rows": learner_lines(group),
        "foot": learner_table(group).foot,
        "paired": paired_table(group) if any(entry.paired for entry in group.entries) else None,
        "paired_title": f"Difference from {group.baseline}",
        "remarks": remarks(group),
        "figures": [figure_parts(figure, group.n_tasks, name) for figure in drawn],
    }


def learner_lines(group: Group) -> list[Line]:
    """Return the rows of a group's learners, in the columns of `learner_table`."""
    table = learner_table(group)
    tested = any(entry.paired for entry in group.entries)
    lines = []
    for entry, row in zip(group.entries, table.rows, strict=True):
        mark = WORDS.get(entry.learned, "")
        cells = [
            Cell(text.removesuffix(f" ({mark})"), _share(entry, column), mark if mark and text.endswith(f" ({mark})") else "")
            for column, text in zip(table.header, row, strict=True)
        ]
        cells[0] = Cell(entry.label, mark=mark or ("baseline" if tested and entry.label == group.baseline else ""))
        lines.append(Line(tuple(cells)))
    return lines


def _share(entry: Entry, column: str) -> float | None:
    """Return the length of the bar below a metric that is a share, or minus a share."""
    estimate = entry.estimates.get(column)
    if estimate is None or estimate.mean is None or column == "gap_closed":
        return None
    return min(max(estimate.mean, 0.0), 1.0)


def figure_parts(figure: Figure, n_tasks: int, name: str) -> dict[str, Any]:
    """Return a figure of a stream of so many tasks as a page shows it; `name` makes its ids unique there."""
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "scale": figure.scale,
        "legend": [
            (label, drawing.swatch(line, f"{name}-{figure.name}-key-{index}-"))
            for index, (label, line) in enumerate(figure.legend)
        ],
        "tasks": [(task, theme.variables(colour)) for task, colour in legend_of_tasks(n_tasks)] if figure.by_task else [],
        "panels": [
            {
                "title": panel.title,
                "note": panel.note,
                "svg": drawing.inline(panel.draw, panel.size, panel.alt, f"{name}-{figure.name}-{index}-"),
            }
            for index, panel in enumerate(figure.panels)
        ],
    }


def provenance(entry: Entry) -> dict[str, Any]:
    """Return where a record's numbers come from: its command, its files' names, and tables of facts."""
    record = entry.record
    said = record.footer
    return {
        "label": entry.label,
        "rerun": rerun(record),
        "files": [path.name for path in record.paths],
        "tables": [
            ("identity", flatten(said.model_dump(include=set(_IDENTITY), exclude_unset=True))),
            ("learner", flatten(said.learner_spec)),
            ("stream", flatten(terms.stream(said))),
            ("terms", {**record.terms, **record.evaluation}),
            *((f"execution {number}", _execution(run)) for number, run in enumerate(record.runs, start=1)),
        ],
    }


def _execution(run: Execution) -> dict[str, Any]:
    return {**flatten(run.model_dump(include=set(_OF_EXECUTION), exclude_unset=True)), "seeds": seeds_text(run.seeds)}
