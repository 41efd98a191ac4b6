"""nlbench export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import Records


def export(
    paths: Records,
    out: Annotated[Path, typer.Option(help="A .csv, .jsonl or .parquet file to write all rows to.")],
) -> None:
    """Write the rows of records to one file."""
    from nlbench import api
    from nlbench.display import files

    files.exported(api.export(paths, out))
