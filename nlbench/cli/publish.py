"""nlbench publish."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import A_PLACE, Baseline, Metrics, Records, WithReference


def publish(
    paths: Records,
    site: Annotated[
        Path,
        typer.Argument(**A_PLACE, help="Folder of the site. What was published there before is replaced."),
    ],
    baseline: Baseline = None,
    metric: Metrics = None,
    with_reference: WithReference = False,
) -> None:
    """Write a static leaderboard: an index, a page a stream and a record, badges, and the data as Parquet and JSON.

    It needs no server and fetches nothing: open site/index.html from the disk, or push the folder to any host of static pages.

    Example: nlbench publish results/ site/
    """
    from nlbench import api
    from nlbench.display import files

    with files.pages() as shown:
        done = api.publish(paths, site, baseline=baseline, metrics=metric, with_reference=with_reference, progress=shown)
    files.published(done)
