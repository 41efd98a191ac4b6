"""nlbench rerun."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import A_PLACE, Data, Device, Format, Threads, one_of


def rerun(
    record: Annotated[Path, typer.Argument(**A_PLACE, help="The record.")],
    compare: Annotated[bool, typer.Option("--compare", help="Run it again and compare; otherwise say how.")] = False,
    seeds: Annotated[str, typer.Option(help="all; 3: so many of the record's, drawn at random; 0,1: those.")] = "all",
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The recipe's file or class, where it is not the package's own.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option("--stream", "-s", help="The stream's file, where it is not the package's own.")
    ] = None,
    data: Data = None,
    device: Device = "auto",
    threads: Threads = None,
    format: Annotated[Format, typer.Option(help="Output format.", **one_of(Format, "format"))] = Format.table,
) -> None:
    """Say which command makes a record again; with --compare run it, and say whether the record's numbers hold.

    Everything is taken from the record's own facts. What it names that is not the package's own is never opened, unless you name
    it with --model or --stream. What was given in Python is said with the call that runs it again there. The new numbers are
    thrown away; times are not compared.

    Exit 0: equal, or within rounding, as another number of threads gives. 1: different. 2: it cannot be judged: its code, data
    or declarations are no longer those of the record.

    Examples: nlbench rerun results/hope.split-digits.*.parquet --compare; with --seeds 2 only two seeds, drawn at random.
    """
    from nlbench import api
    from nlbench.display import rerunning, running

    if not compare:
        rerunning.command(api.command_of(record, model=model, stream=stream), format == Format.json)
        return
    with running.again(quiet=format == Format.json) as shown:
        done = api.rerun(
            record, seeds=seeds, model=model, stream=stream, progress=shown, data=data, device=device, threads=threads
        )
    rerunning.compared(done, format == Format.json)
    raise typer.Exit(done.exit_status)
