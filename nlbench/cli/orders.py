"""nlbench orders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import Data, Device, Format, Precision, Results, Stream, one_of, overrides
from nlbench.cli.sweep import Workers


def orders(
    model: Annotated[str, typer.Option("--model", "-m", help="Models, such as mlp,er.")],
    stream: Stream,
    seeds: Annotated[str, typer.Option(help="As in run: 5 means seeds 0 to 4.")] = "5",
    drawn: Annotated[int, typer.Option(min=0, help="How many orders are drawn beside the usual one and the extremes.")] = 5,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a fact of every run.")] = None,
    results: Results = Path("results/orders"),
    data: Data = None,
    device: Device = "auto",
    precision: Precision = "float32",
    workers: Workers = None,
    format: Annotated[Format, typer.Option(help="What to print when done.", **one_of(Format, "format"))] = Format.table,
) -> None:
    """Run models under the extreme class orders of a split stream, and some that are drawn; say how far apart they lie.

    nlbench orders --model er --stream split-digits

    Extremes are searched by how alike classes are: `apart` deals alike ones out to different tasks, `together` to the same
    (docs/streams.md). What is recorded is not run again; interrupt it whenever you like.

    Exit 0: all is recorded. 2: a run failed or diverged.
    """
    from nlbench import api
    from nlbench.display import orders as display

    models = [name.strip() for name in model.split(",")]
    told = display.Told()
    found = api.orders(
        models,
        stream,
        seeds=seeds,
        drawn=drawn,
        overrides=overrides(set_),
        results=results,
        engine=api.engine("local", workers=workers, device=device),
        listen=told.take,
        device=device,
        data=data,
        precision=precision,
    )
    display.orders(found, format == Format.json)
    if told.wrong:
        raise typer.Exit(2)
