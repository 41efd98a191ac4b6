"""nlbench verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import Data, Device, Format, Results, one_of


def verify(
    claims: Annotated[list[str] | None, typer.Argument(help="Names of claims, or files; all of them by default.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick/--full", help="The reduced form: small streams, of which only orders and slopes are judged.")
    ] = False,
    seeds: Annotated[int | None, typer.Option(min=2, help="So many seeds, in place of what each claim asks for.")] = None,
    results: Results = Path("results/verify"),
    data: Data = None,
    device: Device = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs at once; otherwise one a core, and on a GPU one for each 8 GiB at most.")
    ] = None,
    budget: Annotated[
        list[str] | None, typer.Option(help="Begin no more runs after 8m (600s, 2h); the same command goes on.")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Also write the verdicts here, as page.html or page.md.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is claimed and what would be run; run nothing.")] = False,
    format: Annotated[Format, typer.Option(help="What to print when done.", **one_of(Format, "format"))] = Format.table,
) -> None:
    """Put published claims on trial: run what tries them, and judge each by paired statistics.

    nlbench verify --quick

    A claim is a file: streams, learners, terms, and what must hold (docs/verify.md). `nlbench list claims` names those that come
    with nlbench. What is recorded is not run again; interrupt it whenever you like.

    Exit 0: all that was tried holds. 1: a claim does not hold. 2: one could not be told.
    """
    from nlbench.api import sweeping, verifying
    from nlbench.display import verify as display

    chosen = verifying.trials(claims or (), quick=quick, seeds=seeds)
    if page is not None:
        verifying.refuse_suffix(page)
    if dry_run:
        verifying.prove(chosen, results, device=device, data=data)
        display.dry_run(chosen, results, format == Format.json)
        return
    runs_on = verifying.claim_engine(workers=workers, device=device)
    limits = sweeping.budget_of(budget or ())
    board = display.Docket(chosen, runs_on.slots)
    with board.shown():
        for event in verifying.verify(
            chosen, results, engine=runs_on, budget=limits, began=board.began, device=device, data=data
        ):
            board.take(event)
    board.summary(format == Format.json)
    if page is not None:
        display.written(verifying.write_page(board.judged, page))
    raise typer.Exit(verifying.exit_status(board.judged))
