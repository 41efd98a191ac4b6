"""What a report is made of and found in, for tests."""

from __future__ import annotations

import re
from dataclasses import replace

from nlbench.comparison import Comparison, compare
from nlbench.records import Record, Row


def within_rows(seed: int, n_tasks: int, evaluations: int = 6) -> list[Row]:
    """Return evaluations within tasks that fall after each switch; seeds lie symmetrically around the mean."""
    rows = []
    for done in range(n_tasks):
        for number in range(evaluations):
            for task in range(1, done + 2):
                value = 0.9 - 0.1 * (done + 1 - task) + 0.02 * (-1) ** seed
                rows.append(Row(seed, done, task, (done * evaluations + number) * 16, "accuracy_within", value, 100))
    return rows


def named(records: list[Record], name: str) -> Record:
    """Return the record that was read from a file of that name."""
    return next(record for record in records if record.path.stem == name)


def compared(records: list[Record]) -> Comparison:
    """A comparison beside whose records something was skipped."""
    return replace(compare(records), skipped=("skipped a.txt is no record.",))


def section(page: str, name: str) -> str:
    """Return the part of the page that is one stream's."""
    return (
        page[page.index(f'<section class="stream" id="{name}"') :]
        .partition('<section class="stream"')[2]
        .partition('class="stream"')[0]
    )


def panels(page: str, figure: str) -> list[str]:
    return re.findall(
        r"<figure>.*?</figure>", page.partition(f'<section class="{figure}"')[2].partition("</section>")[0], re.DOTALL
    )
