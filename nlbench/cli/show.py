"""nlbench show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import Data, Format, one_of


def show(
    names: Annotated[list[str], typer.Argument(help="Models, streams or claims, files of these or of grids, or records.")],
    format: Annotated[Format, typer.Option(help="Output format.", **one_of(Format, "format"))] = Format.table,
    samples: Annotated[bool, typer.Option("--samples", help="Look into streams: sizes, labels, order, drift, samples.")] = False,
    figures: Annotated[Path | None, typer.Option(help="Folder for a picture of each stream's samples.")] = None,
    data: Data = None,
) -> None:
    """Show what names or files hold: a declaration, or a record with its matrix, metrics and provenance.

    As JSON, several are one list. `--samples` reads a stream's data, tells whether its tasks differ and its test samples are
    nowhere learned, and draws some samples of each task.
    """
    from nlbench import api
    from nlbench.display import looking, showing

    found = api.named(names)
    showing.show(found, format == Format.json)
    for name, one in zip(names, found, strict=True):
        if (samples or figures) and getattr(one, "kind", "") == "stream":
            looking.look(api.look(name, data=data, figures=figures))
