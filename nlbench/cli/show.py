"""nlbench show."""

from __future__ import annotations

from typing import Annotated

import typer

from nlbench.cli.options import Format


def show(
    names: Annotated[list[str], typer.Argument(help="Models, streams, recipe or stream files, or records.")],
    format: Annotated[Format, typer.Option(help="Output format.")] = Format.table,
) -> None:
    """Show what names or files hold: a declaration, or a record with its matrix, metrics and provenance.

    As JSON, several are one list.
    """
    from nlbench import api
    from nlbench.display import showing

    showing.show(api.named(names), format == Format.json)
