"""nlbench list."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import Results, one_of


class Kind(StrEnum):
    """What `list` can list."""

    all = "all"
    models = "models"
    streams = "streams"
    extensions = "extensions"
    metrics = "metrics"
    claims = "claims"
    records = "records"


def list_(
    what: Annotated[Kind, typer.Argument(help="What to list.", **one_of(Kind, "kind of list"))] = Kind.all,
    results: Results = Path("results"),
) -> None:
    """List models, streams, what they are made of, metrics, claims or records."""
    from nlbench import api
    from nlbench.display.listing import listing

    listing(api.listing(what.value, results))
