"""nlbench bench."""

from __future__ import annotations

from typing import Annotated

import typer

from nlbench.cli.options import Data

app = typer.Typer(no_args_is_help=True, help="Check, then time: the kernels, and whole runs.")


@app.command("kernels")
def kernels(
    op: Annotated[list[str] | None, typer.Option(help="Only this kernel op; may be repeated.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    peers: Annotated[
        bool, typer.Option("--peers", help="Also time flash-linear-attention and titans-pytorch, if installed. GPU only.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Check every kernel case against float64, then time it beside plain torch. A case that fails prints no speed; exit 1."""
    from nlbench import api
    from nlbench.display import benchmarks

    with benchmarks.benchmarking() as listen:
        report = api.bench_kernels(op or (), device, peers=peers, listen=listen)
    benchmarks.kernels(report, json)
    raise typer.Exit(0 if report.passed else 1)


@app.command("runs")
def runs(
    stream: Annotated[
        list[str] | None, typer.Option("--stream", "-s", help="Only runs on this stream; may be repeated. All: ten minutes.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often each is timed, in turns with the others.")] = 5,
    commands: Annotated[bool, typer.Option(help="Also time whole commands, from start to record.")] = True,
    methods: Annotated[
        bool, typer.Option("--all", help="Also time commands of methods, beside Avalanche's strategies where it is installed.")
    ] = False,
    data: Data = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Time runs of the MLP beside a tight hand-written torch loop that learns the same, in the same process.

    First the accuracies of both are compared: if they disagree, exit 1. A ratio of 2 says that nlbench trains a seed in half the
    loop's time. Example: nlbench bench runs --stream split-digits
    """
    from nlbench import api
    from nlbench.display import benchmarks

    listen = benchmarks.timed
    report = api.bench_runs(stream or (), repeats=repeats, commands=commands, methods=methods, data=data, listen=listen)
    benchmarks.runs(report, json)
    raise typer.Exit(0 if report.passed else 1)
