"""Records as a data set for the Hugging Face hub: the Parquet files as they are, and a card that says what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Template

from nlbench.metrics import METRICS
from nlbench.places import place
from nlbench.publishing import data
from nlbench.publishing.board import Board, board
from nlbench.publishing.folder import fill
from nlbench.records import SCHEMA, Record
from nlbench.reporting.page import metrics_shown
from nlbench.reporting.sections import template


def hub(records: Sequence[Record], folder: Path | str) -> tuple[Path, int]:
    """Write a data set of records to a folder, ready to be pushed, and return it and how many records it holds.

    The card names two configurations, so that the hub shows and loads them: `records`, every row of every record, and
    `leaderboard`, a row a learner and metric. Raises as `nlbench.publishing.publish`.
    """
    folder = place(folder)
    made = board(records)
    fill(folder, _files(made))
    return folder, len(made.items)


def _files(made: Board) -> Iterator[tuple[str, bytes]]:
    yield from data.files(made)
    comparison = made.comparison
    card = _template().render(
        tables=comparison.to_markdown(),
        columns=[field.name for field in SCHEMA],
        metrics=metrics_shown(comparison) or list(METRICS.values()),
        n_records=len(made.items),
    )
    yield "README.md", card.encode()


@cache
def _template() -> Template:
    return template("card.md.j2", "nlbench.publishing")
