"""A comparison as one HTML page that needs nothing else, and its figures as files."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nlbench.comparison import Comparison, Group
from nlbench.comparison.tables import ranking_text
from nlbench.errors import NlbenchError
from nlbench.metrics import METRICS, Metric
from nlbench.places import place
from nlbench.records.storage import storage
from nlbench.reporting import drawing, theme
from nlbench.reporting.figures import MOST_NUMBERS, Figure, figures
from nlbench.reporting.samples import opening
from nlbench.reporting.sections import provenance, section, template

if TYPE_CHECKING:
    from nlbench.streams.looking import Look

_LONGEST: Final = 120
"""Characters of a file's name, of which file systems take 255 bytes."""


def report(
    comparison: Comparison, out: Path | str, *, folder: Path | str | None = None, looks: Sequence[Look] = ()
) -> list[Path]:
    """Write the page to `out`, and its figures as SVG, PNG and PDF into `folder` if one is given; return every path written.

    The section of a stream that `looks` are of opens with what it looks like. What was skipped while reading stands at the end of
    the page. The same records give the same bytes. Cost: a second, and 0.1 s a record. Raises NlbenchError where a file cannot be
    written, or a look is of a stream that no record is on.
    """
    out, folder = place(out), None if folder is None else Path(folder)
    if out.is_dir():
        raise NlbenchError(f"{out} is a folder, not a file.", "Name the page, for example --out report.html.")
    found = {group.stream_digest: group.stream for group in comparison.groups}
    if others := [look.name for look in looks if look.digest not in found]:
        raise NlbenchError(f"no record is on {', '.join(others)} as declared now.", f"They are on {', '.join(found.values())}.")
    numbers = sum((group.n_tasks + 1) * group.n_tasks * len(group.entries) for group in comparison.groups) <= MOST_NUMBERS
    styles = standouts(comparison.groups)
    drawn = [figures(group, of_group, numbers=numbers) for group, of_group in zip(comparison.groups, styles, strict=True)]
    try:
        with drawing.settings():
            text = _page(comparison, drawn, looks)
            storage(out).replace(out, text.encode())
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


def _page(comparison: Comparison, drawn: Sequence[Sequence[Figure]], looks: Sequence[Look]) -> str:
    records = [entry.record for group in comparison.groups for entry in group.entries]
    names = names_of_groups(comparison.groups)
    sections = [
        {
            **section(group, of_group, name),
            "opening": next((opening(look) for look in looks if look.digest == group.stream_digest), None),
            "records": [provenance(entry) for entry in group.entries],
        }
        for group, of_group, name in zip(comparison.groups, drawn, names, strict=True)
    ]
    return template("page.html.j2").render(
        sections=sections,
        n_records=len(records),
        learners=len({record.model for record in records}),
        newest=max(record.footer.created for record in records)[:10],
        overall=[ranking_text(metric, ranking) for metric, ranking in comparison.overall.items()],
        mismatches=(*comparison.mismatches, *comparison.left_out),
        skipped=comparison.skipped,
        metrics=metrics_shown(comparison),
    )


def metrics_shown(comparison: Comparison) -> list[Metric]:
    """Return the metrics that pages of a comparison show."""
    columns = [column for group in comparison.groups for column in group.columns]
    return [METRICS[name] for name in dict.fromkeys([*columns, *comparison.metrics, "min_accuracy"])]


def names_of_groups(groups: Sequence[Group]) -> list[str]:
    """Return a name for each group that is fit for a file and an anchor: its stream's, with the digest where two share it."""
    streams = [group.stream for group in groups]
    names = [
        group.stream if streams.count(group.stream) == 1 else f"{group.stream}-{group.stream_digest[:8]}" for group in groups
    ]
    return fit_names(names)


def fit_names(names: Sequence[str]) -> list[str]:
    """Return names that are fit for files and anchors everywhere, each once; those that are so already stay."""
    fit = [re.sub(r"[^\w.-]+|^\.+|\.(?=\.)", "-", name, flags=re.ASCII)[:_LONGEST] for name in names]
    count = Counter(name.casefold() for name in fit)
    taken, found = set(count), []
    for name in fit:
        free = name if count[name.casefold()] == 1 else next(each for each in _numbered(name) if each.casefold() not in taken)
        taken.add(free.casefold())
        found.append(free)
    return found


def _numbered(name: str) -> Iterator[str]:
    return (f"{name}-{number}" for number in itertools.count(1))


def _export(groups: Sequence[Group], drawn: Sequence[Sequence[Figure]], folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, of_group in zip(names_of_groups(groups), drawn, strict=True):
        for figure in of_group:
            panels = [(panel.title, panel.draw, panel.size) for panel in figure.panels]
            yield from drawing.export(folder / f"{name}.{figure.name}", panels, figure.legend, scale=figure.scale)
