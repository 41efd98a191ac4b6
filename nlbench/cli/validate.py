"""nlbench validate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.errors import SpecError


def validate(
    files: Annotated[list[Path], typer.Argument(help="Stream and recipe files, or records.")],
) -> None:
    """Check files and report every broken rule at once; exit 2 if there is one."""
    from nlbench import api
    from nlbench.display.files import validated

    found = api.validate(files)
    validated(found)
    if problems := [problem for one in found for problem in one.problems]:
        raise SpecError(problems)
