"""nlbench migrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import A_PLACE


def migrate(files: Annotated[list[Path], typer.Argument(**A_PLACE, help="Records.")]) -> None:
    """Rewrite records of an older schema in today's, in place."""
    from nlbench import api
    from nlbench.display.files import migrated

    for path in files:
        migrated(path, api.migrate(path))
