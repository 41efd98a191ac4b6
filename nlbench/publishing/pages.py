"""The pages of a site as HTML: the index, a page a stream, a page a record."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final, NamedTuple

import numpy as np
from jinja2 import Template

from nlbench.comparison import Entry, Group
from nlbench.comparison.chance import WORDS
from nlbench.comparison.tables import bytes_text, estimate_text, ranking_text
from nlbench.metrics import METRICS
from nlbench.publishing.badges import badge
from nlbench.publishing.board import Board, Item
from nlbench.publishing.data import record_paths
from nlbench.records import terms
from nlbench.records.facts import varying
from nlbench.reporting import drawing, theme
from nlbench.reporting.figures import figures, history_curve, learning_curves, matrices
from nlbench.reporting.page import metrics_shown
from nlbench.reporting.sections import Cell, Line, figure_parts, provenance, section, template

_SHOWN: Final = ("average_accuracy", "learning_accuracy", "forgetting")
_MOST_CELLS: Final = 1000
"""Of a matrix that is a table; a larger one is a picture."""
_RANK: Final = {"learner": -1, "bytes": 2, "seconds": 3, "seeds": 4, "terms": 5}
"""Columns of a leaderboard that stand before or after its metrics, and the verdicts after these."""
_STORED, _NONE = "samples stored", "no samples stored"


class Table(NamedTuple):
    """A table of cells, and which way each column is sorted first."""

    header: tuple[str, ...]
    lines: tuple[Line, ...]
    first: Mapping[str, str] = {}


def index(board: Board) -> str:
    """Return the page that leads to all others."""
    current = [item for item in board.items if item.current]
    current.sort(key=lambda item: (item.stream, -(_mean(item.entry) or -1.0)))
    comparison = board.comparison
    return _render(
        "index.html.j2",
        root="",
        n_records=len(board.items),
        learners=len({item.record.model for item in board.items}),
        n_streams=len(board.streams),
        newest=max(item.created for item in board.items)[:10],
        streams=_streams(board),
        records=_records(current),
        choices=[
            ("Stream", "stream", sorted({item.group.stream for item in current})),
            ("Scenario", "scenario", sorted({item.group.scenario for item in current})),
            ("Buffer", "buffer", [_NONE, _STORED]),
        ],
        remarks=[*(ranking_text(metric, one) for metric, one in comparison.overall.items()), *comparison.mismatches],
        metrics=metrics_shown(comparison),
    )


def _streams(board: Board) -> Table:
    lines = []
    for name, group in board.streams:
        entries = [entry for entry in group.entries if entry.record.footer.role != "joint" and _mean(entry) is not None]
        best = max(entries, key=lambda entry: _mean(entry) or 0.0, default=None)
        newest = max(entry.record.footer.created for entry in group.entries)[:10]
        lines.append(
            Line(
                (
                    Cell(group.stream, href=f"streams/{name}.html"),
                    _word(group.scenario),
                    _count(group.n_tasks),
                    _count(len(group.entries)),
                    _word(best.label, f"records/{board.of(group)[best.label].name}.html") if best else _word("–"),
                    _estimate(best, "average_accuracy") if best else Cell("–", key=""),
                    _word(newest),
                )
            )
        )
    header = ("stream", "scenario", "tasks", "learners", "best", "average_accuracy", "newest")
    return Table(header, tuple(lines), _first(header))


def _records(items: Sequence[Item]) -> Table:
    header = ("learner", "stream", "scenario", *_SHOWN, "bytes", "seeds", "made", "terms")
    lines = [
        Line(
            (
                Cell(item.entry.label, mark=WORDS.get(item.entry.learned, ""), href=f"records/{item.name}.html"),
                _word(item.group.stream, f"streams/{item.stream}.html"),
                _word(item.group.scenario),
                *(_estimate(item.entry, metric) for metric in _SHOWN),
                _bytes(item.entry),
                _count(len(item.record.seeds)),
                _word(item.created[:10]),
                Cell(terms.text(item.record.terms), kind="text"),
            ),
            {"stream": item.group.stream, "scenario": item.group.scenario, "buffer": _buffer(item.entry)},
        )
        for item in items
    ]
    return Table(header, tuple(lines), _first(header))


def stream(board: Board, name: str, group: Group, styles: Mapping[str, int]) -> str:
    """Return the page of a stream: its leaderboard, tests and figures, best learner first."""
    items = board.of(group)
    drawn = [figure for figure in figures(group, styles, numbers=False) if figure.name != "matrices"]
    with drawing.settings():
        shown = section(group, drawn, "figure")
    order = sorted(range(len(group.entries)), key=lambda index: -(_mean(group.entries[index]) or -1.0))
    tested = tuple(metric for metric in group.metrics if any(metric in entry.paired for entry in group.entries))
    header = (*shown["learners"], *(f"{metric} against {group.baseline}" for metric in tested))
    places = sorted(range(len(header)), key=lambda place: _RANK.get(header[place], 1 if place >= len(shown["learners"]) else 0))
    lines = []
    for index in order:
        entry = group.entries[index]
        cells = (*_keyed(items[entry.label], shown["rows"][index], header), *(_verdict(entry, metric) for metric in tested))
        lines.append(Line(tuple(cells[place] for place in places), {"buffer": _buffer(entry)}))
    foot = [tuple([*row, *[""] * len(tested)][place] for place in places) for row in shown["foot"]]
    header = tuple(header[place] for place in places)
    return _render(
        "stream.html.j2",
        root="../",
        section={**shown, "learners": header, "rows": lines, "foot": foot},
        first=_first(header),
        shared=_shared_terms(group),
        choices=[("Buffer", "buffer", [_NONE, _STORED])],
        metrics=[METRICS[name] for name in dict.fromkeys((*group.columns, *group.metrics))],
    )


def _keyed(item: Item, line: Line, header: Sequence[str]) -> list[Cell]:
    """Return the cells of a learner's row with what its columns are sorted by, its name leading to its record."""
    entry = item.entry
    values = {metric: estimate.mean for metric, estimate in entry.estimates.items()}
    values |= {"bytes": entry.bytes, "seconds": entry.seconds, "seeds": len(item.record.seeds)}
    cells = [replace(line.cells[0], href=f"../records/{item.name}.html")]
    for column, cell in zip(header[1:], line.cells[1:], strict=False):
        key = "" if (value := values.get(column)) is None else value
        cells.append(replace(cell, key=key) if column in values else replace(cell, kind="text"))
    return cells


def _verdict(entry: Entry, metric: str) -> Cell:
    paired = entry.paired.get(metric)
    if paired is None:
        return Cell("–", key="", kind="word")
    return Cell(f"{paired.verdict} ({paired.mean:+.3f})", key=paired.mean, kind="word")


def record(board: Board, item: Item) -> str:
    """Return the page of a record: every metric, its matrix, how to make it again, what came before it."""
    entry, group = item.entry, item.group
    history = board.history(item)
    small = group.n_tasks * (group.n_tasks + 1) <= _MOST_CELLS
    drawn = [learning_curves(entry, group)]
    if not small:
        drawn.insert(0, matrices(replace(group, entries=(entry,)), numbers=False))
    with drawing.settings():
        shown = [figure_parts(figure, group.n_tasks, "record") for figure in drawn]
        past = [figure_parts(_over_time(history), 1, "past")] if len(history) > 1 else []
    return _render(
        "record.html.j2",
        root="../",
        item=item,
        shared=terms.text(item.record.terms),
        newer=None if item.current else history[-1],
        warning=WORDS.get(entry.learned, ""),
        values=_metrics(entry),
        seeds=_seeds(entry),
        matrix=_matrix(entry.record.accuracies.mean(axis=0)) if small else [],
        figures=shown,
        history=_history(history) if len(history) > 1 else None,
        history_figures=past,
        source=provenance(entry),
        paths=record_paths(item),
        badge=badge(item),
        alt=f"{entry.label} on {group.stream}".replace("[", "(").replace("]", ")"),
    )


def _metrics(entry: Entry) -> Table:
    lines = []
    for name, estimate in entry.estimates.items():
        chance = "" if estimate.chance is None else f"{estimate.chance:.3f}"
        said = f"{METRICS[name].better} is better" if estimate.mean is not None else estimate.reason
        lines.append(Line((Cell(name.replace("_", " ")), _estimate(entry, name), Cell(chance), Cell(said, kind="text"))))
    costs = (("bytes per seed", _bytes(entry)), ("seconds of training per seed", _seconds(entry)))
    lines += [Line((Cell(what), cell, Cell(""), Cell("lower is better", kind="text"))) for what, cell in costs]
    return Table(("metric", "mean", "chance", "what it says"), tuple(lines))


def _seeds(entry: Entry) -> Table:
    names = [name for name in _SHOWN if entry.estimates[name].mean is not None]
    values = {name: entry.record.metric(name) for name in names}
    lines = [Line((Cell(str(seed), key=seed), *(_number(values[name][seed]) for name in names))) for seed in entry.record.seeds]
    return Table(("seed", *names), tuple(lines))


def _history(history: Sequence[Item]) -> Table:
    names = ("average_accuracy", "forgetting")
    lines = [
        Line(
            (
                Cell(item.created[:16].replace("T", " "), href=f"{item.name}.html"),
                _word(item.commit or "–"),
                *(_estimate(item.entry, name) for name in names),
                _count(len(item.record.seeds)),
                _word(item.record.fingerprint[:16]),
            )
        )
        for item in reversed(history)
    ]
    return Table(("made", "commit", *names, "seeds", "fingerprint"), tuple(lines))


def _over_time(history: Sequence[Item]) -> Any:
    return history_curve("average accuracy", [item.entry.estimates["average_accuracy"] for item in history])


def _matrix(mean: np.ma.MaskedArray) -> list[list[dict[str, Any]]]:
    return [
        [
            {
                "text": "" if value is np.ma.masked else drawing.short(float(value)),
                "last": i == j + 1,
                **(dict.fromkeys(("ground", "ink"), "") if value is np.ma.masked else _colours(round(float(value) * 100))),
            }
            for j, value in enumerate(row)
        ]
        for i, row in enumerate(mean)
    ]


@cache
def _colours(percent: int) -> dict[str, str]:
    ground, ink = theme.heat(percent / 100)
    return {"ground": ground, "ink": ink}


def _mean(entry: Entry) -> float | None:
    return entry.estimates["average_accuracy"].mean


def _estimate(entry: Entry, metric: str) -> Cell:
    estimate = entry.estimates[metric]
    return Cell(estimate_text(estimate), key="" if estimate.mean is None else estimate.mean)


def _number(value: float | None) -> Cell:
    return Cell("–", key="") if value is None else Cell(f"{value:.3f}", key=value)


def _word(text: str, href: str = "") -> Cell:
    return Cell(text, href=href, kind="word")


def _count(value: int) -> Cell:
    return Cell(str(value), key=value)


def _bytes(entry: Entry) -> Cell:
    return Cell("–", key="") if entry.bytes is None else Cell(bytes_text(entry.bytes), key=entry.bytes)


def _seconds(entry: Entry) -> Cell:
    return Cell("–", key="") if entry.seconds is None else Cell(f"{entry.seconds:.2f} s", key=entry.seconds)


def _buffer(entry: Entry) -> str:
    return _STORED if entry.record.bytes().get("samples") else _NONE


def _shared_terms(group: Group) -> str:
    apart = varying([entry.record.terms for entry in group.entries])
    return terms.text({name: value for name, value in group.entries[0].record.terms.items() if name not in apart})


def _first(header: Sequence[str]) -> dict[str, str]:
    """Return which way a column is sorted when it is chosen first: best or newest on top."""
    falling = {"seeds", "learners", "tasks", "made", "newest"}
    found = {}
    for column in header:
        metric = METRICS.get(column.partition(" against ")[0])
        if (metric and metric.better == "higher") or column in falling:
            found[column] = "descending"
    return found


def _render(name: str, **facts: Any) -> str:
    script = _script()
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    return _template(name).render(script=script, script_digest=digest, **facts)


@cache
def _script() -> str:
    return files("nlbench.publishing").joinpath("site.js").read_text(encoding="utf-8").strip()


@cache
def _template(name: str) -> Template:
    return template(name, "nlbench.publishing")
