"""nlbench export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import A_PLACE, Records
from nlbench.errors import NlbenchError


def export(
    paths: Records,
    out: Annotated[Path | None, typer.Option(**A_PLACE, help="A .csv, .jsonl or .parquet file to write all rows to.")] = None,
    hub: Annotated[Path | None, typer.Option(**A_PLACE, help="A folder for a data set of the Hugging Face hub.")] = None,
) -> None:
    """Write the rows of records to one file, or the records as a data set for the Hugging Face hub.

    Examples: nlbench export results --out all.csv; nlbench export results --hub dataset, then: hf upload OWNER/NAME dataset
    """
    from nlbench import api
    from nlbench.display import files

    if (out is None) == (hub is None):
        raise NlbenchError("export writes to one place.", "Name a file with --out, or a folder with --hub.")
    files.exported(api.export(paths, out) if out is not None else api.export_hub(paths, hub or ""))
