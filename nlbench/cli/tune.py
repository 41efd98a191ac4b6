"""nlbench tune."""

from __future__ import annotations

from typing import Annotated

import typer

from nlbench.cli.options import Data, Device, Format, Precision, Stream, one_of, overrides


def tune(
    model: Annotated[str, typer.Option("--model", "-m", help="A recipe's name or file.")],
    stream: Stream,
    space: Annotated[list[str], typer.Option(help="Candidate values, e.g. learner.rate=0.03,0.1,0.3; may be repeated.")],
    budget: Annotated[
        int, typer.Option(min=1, help="Most candidates to try: the grid if it fits, else a random part of it.")
    ] = 32,
    tasks: Annotated[int, typer.Option(min=1, help="How many first tasks to tune on.")] = 3,
    objective: Annotated[str, typer.Option(help="The metric to be best at.")] = "average_accuracy",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a fact for every candidate.")] = None,
    data: Data = None,
    device: Device = "auto",
    precision: Precision = "float32",
    format: Annotated[Format, typer.Option(help="What to print when done.", **one_of(Format, "format"))] = Format.table,
) -> None:
    """Search a recipe's values without touching a test set.

    Candidates learn the first tasks from 80 % of their training sets and are judged on the rest, with seeds 100 to 102.
    """
    from nlbench import api
    from nlbench.display import search
    from nlbench.specs import listed

    found = api.tune(
        model,
        stream,
        {key: listed(values) for key, values in overrides(space, "--space").items()},
        budget=budget,
        tasks=tasks,
        objective=objective,
        overrides=overrides(set_),
        listen=search.trial,
        device=device,
        data=data,
        precision=precision,
    )
    search.search(found, format == Format.json)
