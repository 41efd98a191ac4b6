"""nlbench prune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import Results


def prune(
    results: Results = Path("results"),
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; otherwise they are only named.")] = False,
) -> None:
    """Name records that a newer one supersedes and what killed runs left behind, checkpoints included. References never go."""
    from nlbench import api
    from nlbench.display import files

    files.pruned(api.prune(results, delete=delete), delete)
