"""nlbench compare."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from nlbench.cli.options import Baseline, Flops, Metrics, Records, WithinBudget, WithReference, one_of


class Format(StrEnum):
    """How `compare` prints."""

    table = "table"
    md = "md"
    csv = "csv"
    json = "json"
    latex = "latex"


def compare(
    paths: Records,
    baseline: Baseline = None,
    metric: Metrics = None,
    format: Annotated[Format, typer.Option(help="Output format.", **one_of(Format, "format"))] = Format.table,
    with_reference: WithReference = False,
    within: WithinBudget = None,
    flops: Flops = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of tables (table, md, latex), such as seeds,average_accuracy,bytes; otherwise all that fit."),
    ] = None,
) -> None:
    """Compare records: one table a stream, with 95 % intervals over seeds, and paired tests corrected by Holm."""
    from nlbench import api
    from nlbench.comparison import budgets
    from nlbench.display.comparison import comparison

    names = [name.strip() for name in (columns or "").split(",") if name.strip()]
    compared = api.compare(
        paths,
        baseline=baseline,
        metrics=metric,
        with_reference=with_reference,
        flops=flops,
        within=budgets(within or ()),
    )
    comparison(compared, format.value, names)
