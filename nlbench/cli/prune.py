"""nlbench prune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import A_PLACE


def prune(
    folders: Annotated[list[Path] | None, typer.Argument(**A_PLACE, help="Folders of records; results by default.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; otherwise they are only named.")] = False,
) -> None:
    """Name records that a newer one supersedes and what killed runs left behind, checkpoints included. References never go."""
    from nlbench import api
    from nlbench.display import files

    found = {path: what for folder in folders or [Path("results")] for path, what in api.prune(folder, delete=delete).items()}
    files.pruned(found, delete)
