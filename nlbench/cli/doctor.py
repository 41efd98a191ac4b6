"""nlbench doctor."""

from __future__ import annotations

from typing import Annotated

import typer

from nlbench.cli.options import Device, Format, one_of, overrides
from nlbench.errors import NlbenchError


def doctor(
    models: Annotated[list[str], typer.Argument(help="Recipes' names or files, ./file.py:Class, or package.module:Class.")],
    shape: Annotated[str, typer.Option(help="Of one sample, for a network that takes no other, such as 3,32,32.")] = "1,16,16",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a value, e.g. learner.width=64.")] = None,
    device: Device = "auto",
    format: Annotated[Format, typer.Option(help="Output format.", **one_of(Format, "format"))] = Format.table,
) -> None:
    """Try whether learners keep the rules that every learner keeps, and say what to mend; seconds each, on a tiny made stream.

    Exit 0: every rule is kept. 1: one is broken. 2: a learner cannot be made.
    """
    from nlbench import api
    from nlbench.display import conformance

    sizes = [part.strip() for part in shape.split(",")]
    if not all(part.isdecimal() and int(part) for part in sizes):
        raise NlbenchError(f"--shape must be whole numbers from 1, separated by commas, got {shape!r}.", "Such as 3,32,32.")
    chosen, values = tuple(map(int, sizes)), overrides(set_)
    found = (api.check_learner(model, shape=chosen, overrides=values, device=device) for model in models)
    raise typer.Exit(not conformance.examinations(found, format == Format.json))
