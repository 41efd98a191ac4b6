"""A comparison as one HTML page that needs nothing else, and its figures as files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined, Template

from nlbench.comparison import Comparison, Entry, Group, learner_table, paired_table, remarks
from nlbench.comparison.chance import WORDS
from nlbench.comparison.tables import ranking_text
from nlbench.errors import NlbenchError
from nlbench.metrics import METRICS
from nlbench.records import Execution, terms
from nlbench.records.facts import flatten
from nlbench.reporting import drawing, theme
from nlbench.reporting.figures import MOST_NUMBERS, Figure, figures, legend_of_tasks
from nlbench.reporting.rerun import rerun, seeds_text

_IDENTITY: Final = frozenset(
    {"fingerprint", "protocol_version", "stream_digest", "learner_digest", "source_digest", "code", "precision", "data"}
)
_OF_EXECUTION: Final = frozenset({"created", "seeds", "backend", "device", "gpu", "threads", "environment"})


def report(comparison: Comparison, out: Path | str, *, folder: Path | str | None = None) -> list[Path]:
    """Write the page to `out`, and its figures as SVG, PNG and PDF into `folder` if one is given; return every path written.

    What was skipped while reading stands at the end of the page. The same records give the same bytes. Cost: a second, and 0.1 s
    a record. Raises NlbenchError where a file cannot be written.
    """
    out, folder = Path(out), None if folder is None else Path(folder)
    if out.is_dir():
        raise NlbenchError(f"{out} is a folder, not a file.", "Name the page, for example --out report.html.")
    numbers = sum((group.n_tasks + 1) * group.n_tasks * len(group.entries) for group in comparison.groups) <= MOST_NUMBERS
    styles = standouts(comparison.groups)
    drawn = [figures(group, of_group, numbers=numbers) for group, of_group in zip(comparison.groups, styles, strict=True)]
    try:
        with drawing.settings():
            text = _page(comparison, drawn)
            out.parent.mkdir(parents=True, exist_ok=True)
            part = out.with_name(f".{out.name}.part")
            try:
                part.write_text(text, encoding="utf-8")
                part.replace(out)
            finally:
                part.unlink(missing_ok=True)
            return [out, *(_export(comparison.groups, drawn, folder) if folder else ())]
    except OSError as error:
        raise NlbenchError(
            f"{error.filename or out}: cannot be written: {error.strerror}.", "Name another place with --out or --figures."
        ) from error


def standouts(groups: Sequence[Group]) -> list[dict[str, int]]:
    """Return, for each group, the line style of the learners that stand out: the baseline and the most accurate ones.

    A learner keeps its style from stream to stream as far as no other has it there.
    """
    kept: dict[str, int] = {}
    found = []
    for group in groups:
        best = sorted(
            group.entries, key=lambda entry: (entry.label != group.baseline, -(entry.estimates["average_accuracy"].mean or 0))
        )
        chosen = {entry.label for entry in best[: theme.MOST_LEARNERS]}
        labels = [entry.label for entry in group.entries if entry.label in chosen]
        styles: dict[str, int] = {}
        for label in sorted(labels, key=lambda label: label not in kept):
            free = [style for style in range(theme.MOST_LEARNERS) if style not in styles.values()]
            styles[label] = kept[label] if kept.get(label) in free else free[0]
            kept.setdefault(label, styles[label])
        found.append({label: styles[label] for label in labels})
    return found


# the page


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, the length of its bar where the value is a share, and a warning or role."""

    text: str
    share: float | None = None
    mark: str = ""


def _page(comparison: Comparison, drawn: Sequence[Sequence[Figure]]) -> str:
    records = [entry.record for group in comparison.groups for entry in group.entries]
    names = names_of_groups(comparison.groups)
    sections = [_section(group, of_group, name) for group, of_group, name in zip(comparison.groups, drawn, names, strict=True)]
    columns = [column for group in comparison.groups for column in group.columns]
    shown = dict.fromkeys([*columns, *comparison.metrics, "min_accuracy"])
    return _template().render(
        light=theme.declarations(0),
        dark=theme.declarations(1),
        gradient=theme.gradient(),
        sections=sections,
        n_records=len(records),
        learners=len({record.model for record in records}),
        newest=max(record.footer.created for record in records)[:10],
        overall=[ranking_text(metric, ranking) for metric, ranking in comparison.overall.items()],
        mismatches=comparison.mismatches,
        skipped=comparison.skipped,
        metrics=[METRICS[name] for name in shown],
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["words"] = lambda name: name.replace("_", " ")
    return environment.from_string(files("nlbench.reporting").joinpath("page.html.j2").read_text(encoding="utf-8"))


def _section(group: Group, drawn: Sequence[Figure], name: str) -> dict[str, Any]:
    return {
        "id": name,
        "group": group,
        "unlearned": [
            (words, labels)
            for said, words in WORDS.items()
            if (labels := [entry.label for entry in group.entries if entry.learned == said])
        ],
        "learners": learner_table(group).header,
        "rows": _learner_cells(group),
        "foot": learner_table(group).foot,
        "paired": paired_table(group) if any(entry.paired for entry in group.entries) else None,
        "paired_title": f"Difference from {group.baseline}",
        "remarks": remarks(group),
        "figures": [_figure(figure, group, name) for figure in drawn],
        "records": [_provenance(entry) for entry in group.entries],
    }


def _learner_cells(group: Group) -> list[list[Cell]]:
    table = learner_table(group)
    tested = any(entry.paired for entry in group.entries)
    rows = []
    for entry, row in zip(group.entries, table.rows, strict=True):
        mark = WORDS.get(entry.learned, "")
        cells = [
            Cell(text.removesuffix(f" ({mark})"), _share(entry, column), mark if mark and text.endswith(f" ({mark})") else "")
            for column, text in zip(table.header, row, strict=True)
        ]
        cells[0] = Cell(entry.label, mark=mark or ("baseline" if tested and entry.label == group.baseline else ""))
        rows.append(cells)
    return rows


def _share(entry: Entry, column: str) -> float | None:
    """Return the length of the bar below a metric that is a share, or minus a share."""
    estimate = entry.estimates.get(column)
    if estimate is None or estimate.mean is None or column == "gap_closed":
        return None
    return min(max(estimate.mean, 0.0), 1.0)


def _figure(figure: Figure, group: Group, name: str) -> dict[str, Any]:
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "scale": figure.scale,
        "legend": [
            (label, drawing.swatch(line, f"{name}-{figure.name}-key-{index}-"))
            for index, (label, line) in enumerate(figure.legend)
        ],
        "tasks": [(task, theme.variables(colour)) for task, colour in legend_of_tasks(group.n_tasks)]
        if figure.name == "stability-gap"
        else [],
        "panels": [
            {
                "title": panel.title,
                "note": panel.note,
                "svg": drawing.inline(panel.draw, panel.size, panel.alt, f"{name}-{figure.name}-{index}-"),
            }
            for index, panel in enumerate(figure.panels)
        ],
    }


def _provenance(entry: Entry) -> dict[str, Any]:
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


# files


def names_of_groups(groups: Sequence[Group]) -> list[str]:
    """Return a name for each group that is fit for a file and an anchor: its stream's, with the digest where two share it."""
    streams = [group.stream for group in groups]
    names = [
        group.stream if streams.count(group.stream) == 1 else f"{group.stream}-{group.stream_digest[:8]}" for group in groups
    ]
    fit = [re.sub(r"[^\w-]+", "-", name) for name in names]
    return [name if fit.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(fit, start=1)]


def _export(groups: Sequence[Group], drawn: Sequence[Sequence[Figure]], folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, of_group in zip(names_of_groups(groups), drawn, strict=True):
        for figure in of_group:
            panels = [(panel.title, panel.draw, panel.size) for panel in figure.panels]
            yield from drawing.export(folder / f"{name}.{figure.name}", panels, figure.legend, scale=figure.scale)
