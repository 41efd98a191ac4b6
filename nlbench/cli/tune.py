"""nlbench tune."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import Data, Device, Format, Precision, Results, Stream, one_of, overrides
from nlbench.cli.sweep import Address, EngineKind, EngineOption, Memory, Workers


class SamplerKind(StrEnum):
    """Who says what is tried next."""

    grid = "grid"
    random = "random"
    tpe = "tpe"


def tune(
    model: Annotated[str, typer.Option("--model", "-m", help="A recipe's name or file.")],
    stream: Stream,
    space: Annotated[
        list[str],
        typer.Option(help="What is searched: learner.rate=0.03,0.1 or a range, learner.rate=log:0.001..0.3; may be repeated."),
    ],
    budget: Annotated[int, typer.Option(min=1, help="Most candidates to try.")] = 32,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Begin no more candidates after so long.")] = None,
    sampler: Annotated[
        SamplerKind,
        typer.Option(
            help="grid: all values, or a random part of them; random: also from ranges; tpe: Optuna's, near what was good.",
            **one_of(SamplerKind, "sampler"),
        ),
    ] = SamplerKind.grid,
    trials: Annotated[Path | None, typer.Option(help="A file with a line a trial; what stands there is not tried again.")] = None,
    tasks: Annotated[int, typer.Option(min=1, help="How many first tasks to tune on.")] = 3,
    objective: Annotated[str, typer.Option(help="The metric to be best at.")] = "average_accuracy",
    then: Annotated[
        str | None,
        typer.Option(
            help="Run the winner, all its values, on this stream too, of the same scenario: it had no part in the search."
        ),
    ] = None,
    results: Results = Path("results"),
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a fact for every candidate.")] = None,
    data: Data = None,
    device: Device = "auto",
    precision: Precision = "float32",
    engine: EngineOption = EngineKind.local,
    address: Address = None,
    workers: Workers = None,
    memory: Memory = None,
    format: Annotated[Format, typer.Option(help="What to print when done.", **one_of(Format, "format"))] = Format.table,
) -> None:
    """Search a recipe's values without touching a test set.

    nlbench tune --model mlp --stream split-digits --space learner.rate=0.03,0.1,0.3 --trials trials.jsonl

    Candidates learn the first tasks from 80 % of their training sets and are judged on the rest, with seeds 100 to 102.
    """
    from nlbench import api
    from nlbench.display import records, search

    if then is not None:
        api.check_scenarios(model, stream, then, overrides(set_))
    found = api.tune(
        model,
        stream,
        {key: api.searched(values) for key, values in overrides(space, "--space").items()},
        budget=budget,
        tasks=tasks,
        objective=objective,
        overrides=overrides(set_),
        listen=search.trial,
        sampler=sampler.value,
        trials=trials,
        seconds=None if minutes is None else 60 * minutes,
        engine=api.engine(engine, address=address, workers=workers, memory=memory, device=device),
        device=device,
        data=data,
        precision=precision,
    )
    search.search(found, format == Format.json)
    if then is not None:
        done = api.carry_over(
            found, model, stream, then, overrides=overrides(set_), results=results, device=device, data=data, precision=precision
        )
        records.run(done, format == Format.json)
