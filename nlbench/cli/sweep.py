"""nlbench sweep."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import Data, Device, Format, Results, one_of, overrides


class EngineKind(StrEnum):
    """Where cells run."""

    local = "local"
    here = "here"
    ray = "ray"


EngineOption = Annotated[
    EngineKind,
    typer.Option(
        help="local: worker processes of this machine; here: this process alone; ray: a Ray cluster.",
        **one_of(EngineKind, "engine"),
    ),
]
Address = Annotated[str | None, typer.Option(help="Of the Ray cluster, such as auto; else this machine is one.")]
Workers = Annotated[int | None, typer.Option(min=1, help="What runs at once; otherwise as much as cores, memory or GPUs hold.")]
Memory = Annotated[
    float | None, typer.Option(min=0.01, help="GiB that a cell takes, of a GPU where it runs on one: so many share it.")
]


class Diverging(StrEnum):
    """What becomes of a cell of which a seed diverges."""

    mask = "mask"
    stop = "stop"


def sweep(
    grid: Annotated[Path | None, typer.Argument(help="A grid in TOML; --model and --stream need none.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Models, such as mlp,er.")] = None,
    stream: Annotated[str | None, typer.Option("--stream", "-s", help="Streams, such as split-digits,permuted-digits.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A fact of every cell, or several: learner.rate=0.1,0.3 makes two of each.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="As in run: 5 means seeds 0 to 4; 3,7 those two.")] = None,
    precision: Annotated[str | None, typer.Option(help="As in run; otherwise float32, or the file's.")] = None,
    results: Results = Path("results"),
    data: Data = None,
    device: Device = "auto",
    backend: Annotated[str, typer.Option(help="auto, reference, numba or triton.")] = "auto",
    engine: EngineOption = EngineKind.local,
    address: Address = None,
    workers: Workers = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of a worker; otherwise its share of the cores.")] = None,
    memory: Memory = None,
    on_divergence: Annotated[
        Diverging,
        typer.Option(
            help="mask: a seed that diverges is left out, and the record says so; stop: its cell has no record.",
            **one_of(Diverging, "way"),
        ),
    ] = Diverging.mask,
    budget: Annotated[
        list[str] | None,
        typer.Option(help="Begin no more cells after 90m (2h, 600s), or after 100 of them."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells, what is recorded and what the rest would cost; run nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Run every cell anew and replace its record.")] = False,
    format: Annotated[Format, typer.Option(help="What to print when done.", **one_of(Format, "format"))] = Format.table,
) -> None:
    """Run models x streams x values x seeds, and skip what is recorded.

    nlbench sweep --model mlp,er --stream split-digits --set protocol.passes=1,2 --seeds 10

    Values of each model's own, and budgets, stand in a file: nlbench sweep grid.toml (docs/sweeps.md shows one).

    Interrupt it whenever you like: the same command goes on. A cell that fails or diverges loses none of the others.

    Exit 0: all is recorded, or the budget ended. 2: a cell failed, or with --on-divergence stop diverged. 130: interrupted.
    """
    from nlbench import api
    from nlbench.api import sweeping
    from nlbench.display import console
    from nlbench.display import sweep as display

    declared = sweeping.grid_of(grid, model, stream, seeds, overrides(set_), precision)
    points = sweeping.distinct(declared)
    for remark in dict.fromkeys(note for point in points for note in point.plan.notes):
        console.note(remark)
    runs_on = sweeping.engine(engine, address=address, workers=workers, threads=threads, memory=memory, device=device)
    machine = api.options(device=device, backend=backend, data=data)
    if dry_run:
        cells = sweeping.standing(points, results, force=force)
        display.dry_run(cells, sweeping.costs(cells, runs_on.slots, machine), format == Format.json)
        return
    board = display.Board(points, runs_on.slots)
    with board.shown():
        plans, limits = [point.plan for point in points], sweeping.budget_of(budget or (), declared.budget)
        policy = sweeping.Policy(force=force, on_divergence=on_divergence.value)
        for outcome in sweeping.carry_out(plans, results, runs_on, machine, policy=policy, budget=limits):
            board.take(outcome)
    board.summary(str(results), format == Format.json)
    if sweeping.unfinished(board.outcomes, on_divergence.value):
        raise typer.Exit(2)
