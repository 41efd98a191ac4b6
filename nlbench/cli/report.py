"""nlbench report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import A_PLACE, Baseline, Flops, Metrics, Records, WithinBudget, WithReference


def report(
    paths: Records,
    out: Annotated[Path, typer.Option(**A_PLACE, help="The page to write.")] = Path("report.html"),
    figures: Annotated[Path | None, typer.Option(help="Also write each figure as SVG, PNG and PDF into this folder.")] = None,
    baseline: Baseline = None,
    metric: Metrics = None,
    with_reference: WithReference = False,
    within: WithinBudget = None,
    flops: Flops = None,
    stream: Annotated[
        list[str] | None, typer.Option(help="Open the stream's section with its samples, read from its data; repeatable.")
    ] = None,
) -> None:
    """Write one self-contained HTML page: figures, comparison tables, provenance and how to rerun."""
    from nlbench import api
    from nlbench.comparison import budgets
    from nlbench.display import files

    made = api.report(
        paths,
        out,
        baseline=baseline,
        metrics=metric,
        with_reference=with_reference,
        flops=flops,
        within=budgets(within or ()),
        figures=figures,
        streams=stream or (),
    )
    files.report(made)
