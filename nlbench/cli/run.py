"""nlbench run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nlbench.cli.options import Data, Device, Format, Precision, Results, Stream, Threads, one_of, overrides


class Log(StrEnum):
    """Where `run` also sends its rows."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"


def run(
    model: Annotated[
        str, typer.Option("--model", "-m", help="A recipe's name or file, or ./file.py:Class, or package.module:Class.")
    ],
    stream: Stream,
    seeds: Annotated[
        str, typer.Option(help="5 means seeds 0 to 4; 3,7 those two; 3, that one. Recorded seeds are not run again.")
    ] = "10",
    scenario: Annotated[str | None, typer.Option(help="task-il, domain-il or class-il, instead of the stream's own.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Override a fact: learner.rate=0.05, protocol.passes=2; KEY=none unsets one that may be left out; another "
            "learner.optimizer.kind starts from its own values.",
        ),
    ] = None,
    results: Results = Path("results"),
    data: Data = None,
    device: Device = "auto",
    backend: Annotated[str, typer.Option(help="auto, reference, numba or triton: which implementation of the kernels.")] = "auto",
    threads: Threads = None,
    precision: Precision = "float32",
    format: Annotated[Format, typer.Option(help="What to print when done.", **one_of(Format, "format"))] = Format.table,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved run and what it would cost; run nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Run anew and replace the record.")] = False,
    checkpoint_every: Annotated[
        float, typer.Option(min=0, help="Seconds between checkpoints within a task; 0 keeps them at task boundaries alone.")
    ] = 60.0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Leave if another process is at the same run.")] = False,
    save: Annotated[Path | None, typer.Option(help="Folder in which the learner is saved, for nlbench.load_learner.")] = None,
    log: Annotated[
        Log | None, typer.Option(help="Also send every row there; each needs the extra of its name.", **one_of(Log, "logger"))
    ] = None,
) -> None:
    """Run a learner on a stream and record what it keeps and what it forgets.

    nlbench run --model mlp --stream split-digits --set protocol.evaluate_every=none

    Seeds run together as one tensor axis. Interrupt it whenever you like, with Ctrl-C or a signal: the same command resumes.
    """
    from nlbench import api, loggers
    from nlbench.display import console, records, running

    machine = api.options(
        device=device,
        backend=backend,
        data=data,
        threads=threads,
        checkpoint_every=checkpoint_every,
        wait=not no_wait,
        save=save,
    )
    plan = api.resolve(model, stream, seeds=seeds, scenario=scenario, overrides=overrides(set_), precision=precision)
    for remark in plan.notes:
        console.note(remark)
    if dry_run:
        running.dry_run(plan, api.estimate(plan, machine), format == Format.json)
        return
    missing = api.missing_seeds(plan, results, force)
    with loggers.opened(log, plan, results) as logger:
        with running.progress(plan, results, missing, quiet=format == Format.json) as shown:
            rows, moments = (shown.row, shown.moment) if shown is not None else (None, None)
            together = loggers.together(rows, logger)
            done = api.carry_out(plan, results, machine, force=force, listen=together, tell=console.note, progress=moments)
        loggers.conclude(logger, done.record, missing)
    records.run(done, format == Format.json)
    if save is not None and done.seeds_run:
        own = "".join(f', "{kind}"' for _, group, kind in plan.parts if group in ("learners", "networks") and ":" in kind)
        console.note(f"learner in {save}: nlbench.load_learner(path{own})")
