"""nlbench diff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import A_PLACE


def diff(
    first: Annotated[Path, typer.Argument(**A_PLACE, help="A record.")],
    second: Annotated[Path, typer.Argument(**A_PLACE, help="Another record.")],
) -> None:
    """Show which facts differ between two records: declarations, data, seeds, code, machine, versions."""
    from nlbench import api
    from nlbench.display import files

    files.differences(api.diff(first, second), first.name, second.name)
