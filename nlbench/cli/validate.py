"""nlbench validate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.errors import SpecError


def validate(
    files: Annotated[list[Path], typer.Argument(help="Streams, recipes, claims, grids and records, or folders of them.")],
) -> None:
    """Check files and report every broken rule at once; exit 2 if there is one.

    What a TOML file declares is told by its tables. Of a claim the options and terms of each run are checked too; files of one's
    own that it names are not opened. A folder stands for every .toml and .parquet file right in it, but
    pyproject.toml.
    """
    from nlbench import api
    from nlbench.display.files import validated

    found = api.validate(files)
    validated(found)
    if problems := [problem for one in found for problem in one.problems]:
        raise SpecError(problems)
