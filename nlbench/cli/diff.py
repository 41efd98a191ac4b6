"""nlbench diff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def diff(
    first: Annotated[Path, typer.Argument(help="A record.")],
    second: Annotated[Path, typer.Argument(help="Another record.")],
) -> None:
    """Show which facts differ between two records: declarations, data, seeds, code, machine, versions."""
    from nlbench import api
    from nlbench.display import files

    files.differences(api.diff(first, second), first.name, second.name)
