"""nlbench report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import Baseline, Metrics, Records, WithReference


def report(
    paths: Records,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    figures: Annotated[Path | None, typer.Option(help="Also write each figure as SVG, PNG and PDF into this folder.")] = None,
    baseline: Baseline = None,
    metric: Metrics = None,
    with_reference: WithReference = False,
) -> None:
    """Write one self-contained HTML page: figures, comparison tables, provenance and how to rerun."""
    from nlbench import api
    from nlbench.display import files

    files.report(api.report(paths, out, figures=figures, baseline=baseline, metrics=metric, with_reference=with_reference))
