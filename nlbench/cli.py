"""The command line: parse, call one function, print."""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nlbench.errors import NlbenchError

app = typer.Typer(
    name="nlbench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measure continual learning: streams of tasks, one protocol, records that can be compared and gated.\n\n"
    "Start with: nlbench run --model hope --stream split-digits, then: nlbench compare results/*",
)
data_app = typer.Typer(no_args_is_help=True, help="Fetch and verify data sets.")
app.add_typer(data_app, name="data")
bench_app = typer.Typer(no_args_is_help=True, help="Check, then time: the kernels, and whole runs.")
app.add_typer(bench_app, name="bench")


class Kind(StrEnum):
    """What `list` can list."""

    all = "all"
    models = "models"
    streams = "streams"
    metrics = "metrics"
    records = "records"


class RunFormat(StrEnum):
    """How `run` and `show` print."""

    table = "table"
    json = "json"


class Log(StrEnum):
    """Where `run` also sends its rows."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"


class CompareFormat(StrEnum):
    """How `compare` prints."""

    table = "table"
    md = "md"
    csv = "csv"
    json = "json"
    latex = "latex"


Results = Annotated[Path, typer.Option(help="Folder of records.")]
Data = Annotated[Path | None, typer.Option(help="Folder of data sets; otherwise NLBENCH_DATA, then the user cache.")]
Precision = Annotated[
    str,
    typer.Option(
        help="float32, or bf16: matrix products in bfloat16, all else in float32; other numbers, so another record. mlp and "
        "joint only. Pays where products take most of the time (many seeds, wide layers) and the processor has units for them."
    ),
]


def _version(shown: bool) -> None:
    if shown:
        from nlbench import __version__, display

        display.line(__version__)
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. May stand anywhere.")] = False,
) -> None:
    """The options that come before a command."""


@app.command()
def run(
    model: Annotated[
        str, typer.Option("--model", "-m", help="A recipe's name or file, or ./file.py:Class, or package.module:Class.")
    ],
    stream: Annotated[str, typer.Option("--stream", "-s", help="A stream's name or file.")],
    seeds: Annotated[
        str, typer.Option(help="5 means seeds 0 to 4; 3,7 those two; 3, that one. Recorded seeds are not run again.")
    ] = "5",
    scenario: Annotated[str | None, typer.Option(help="task-il, domain-il or class-il, instead of the stream's own.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a fact, e.g. learner.rate=0.05 or protocol.passes=2.")
    ] = None,
    results: Results = Path("results"),
    data: Data = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    backend: Annotated[str, typer.Option(help="auto, reference, numba or triton: which implementation of the kernels.")] = "auto",
    precision: Precision = "float32",
    format: Annotated[RunFormat, typer.Option(help="What to print when done.")] = RunFormat.table,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved run and what it would cost; run nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Run anew and replace the record.")] = False,
    log: Annotated[Log | None, typer.Option(help="Also send every row there; each needs the extra of its name.")] = None,
) -> None:
    """Run a learner on a stream and record what it keeps and what it forgets.

    Seeds run together as one tensor axis. Interrupt it whenever you like: the same command resumes.
    """
    from nlbench import api, display, loggers

    machine = api.options(device=device, backend=backend, data=data)
    plan = api.resolve(model, stream, seeds=seeds, scenario=scenario, overrides=_overrides(set_), precision=precision)
    if dry_run:
        display.dry_run(plan, api.estimate(plan, machine), format == RunFormat.json)
        return
    missing = api.missing_seeds(plan, results, force)
    with loggers.opened(log, plan, results) as logger:
        with display.progress(plan, results, missing, quiet=format == RunFormat.json) as shown:
            done = api.carry_out(plan, results, machine, force=force, listen=loggers.together(shown, logger))
        loggers.conclude(logger, done.record, missing)
    display.run(done, format == RunFormat.json)


@app.command()
def compare(
    paths: Annotated[list[Path], typer.Argument(help="Records, folders of records, or both.")],
    baseline: Annotated[str | None, typer.Option(help="Test every other model against this one, on common seeds.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Metrics to show; may be repeated. See: nlbench list metrics.")] = None,
    format: Annotated[CompareFormat, typer.Option(help="Output format.")] = CompareFormat.table,
    with_reference: Annotated[bool, typer.Option("--with-reference", help="Keep records of the folder reference too.")] = False,
) -> None:
    """Compare records: one table a stream, with 95 % intervals over seeds, and paired tests corrected by Holm."""
    from nlbench import comparison, display
    from nlbench.records import read_records

    records, notes = read_records(paths, with_reference=with_reference)
    display.comparison(comparison.compare(records, baseline=baseline, metrics=metric), notes, format.value)


@app.command()
def report(
    paths: Annotated[list[Path], typer.Argument(help="Records, folders of records, or both.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    figures: Annotated[Path | None, typer.Option(help="Also write each figure as SVG and PNG into this folder.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Test every other model against this one, on common seeds.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Metrics to show; may be repeated. See: nlbench list metrics.")] = None,
    with_reference: Annotated[bool, typer.Option("--with-reference", help="Keep records of the folder reference too.")] = False,
) -> None:
    """Write one self-contained HTML page: figures, comparison tables, provenance and how to rerun."""
    from nlbench import comparison, display, reporting
    from nlbench.records import read_records

    records, notes = read_records(paths, with_reference=with_reference)
    compared = comparison.compare(records, baseline=baseline, metrics=metric)
    display.report(reporting.report(compared, out, folder=figures, notes=notes), notes)


@app.command()
def check(
    records: Annotated[list[Path], typer.Argument(help="Records, or folders of records, to judge.")],
    against: Annotated[Path | None, typer.Option(help="A reference record or a folder of them.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Make each record the reference if it may be and is better.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also append Markdown here, such as $GITHUB_STEP_SUMMARY.")] = None,
    format: Annotated[RunFormat, typer.Option(help="Output format.")] = RunFormat.table,
) -> None:
    """Judge records against their references: the gate on forgetting.

    Exit 0: every metric with a margin is ok or better. 1: one is worse. 2: it cannot be judged.
    """
    from nlbench import api, display

    if update:
        if junit or markdown or format == RunFormat.json:
            raise NlbenchError(
                "--update writes no report: it takes no --junit, no --markdown and no --format json.",
                "Run check with these first, then check --update.",
            )
        display.updates(api.update_references(records, against))
        return
    judgements = api.check_all(records, against=against)
    display.judgements(judgements, junit, markdown, format == RunFormat.json)
    raise typer.Exit(api.exit_status(judgements))


@app.command()
def tune(
    model: Annotated[str, typer.Option("--model", "-m", help="A recipe's name or file.")],
    stream: Annotated[str, typer.Option("--stream", "-s", help="A stream's name or file.")],
    space: Annotated[list[str], typer.Option(help="Candidate values, e.g. learner.rate=0.03,0.1,0.3; may be repeated.")],
    budget: Annotated[
        int, typer.Option(min=1, help="Most candidates to try: the grid if it fits, else a random part of it.")
    ] = 32,
    tasks: Annotated[int, typer.Option(min=1, help="How many first tasks to tune on.")] = 3,
    objective: Annotated[str, typer.Option(help="The metric to be best at.")] = "average_accuracy",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a fact for every candidate.")] = None,
    data: Data = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Precision = "float32",
    format: Annotated[RunFormat, typer.Option(help="What to print when done.")] = RunFormat.table,
) -> None:
    """Search a recipe's values without touching a test set.

    Candidates learn the first tasks from 80 % of their training sets and are judged on the rest, with seeds 100 to 102.
    """
    from nlbench import api, display
    from nlbench.specs import listed

    found = api.tune(
        model,
        stream,
        {key: listed(values) for key, values in _overrides(space, "--space").items()},
        budget=budget,
        tasks=tasks,
        objective=objective,
        overrides=_overrides(set_),
        listen=display.trial,
        device=device,
        data=data,
        precision=precision,
    )
    display.search(found, format == RunFormat.json)


@bench_app.command("kernels")
def bench_kernels(
    op: Annotated[list[str] | None, typer.Option(help="Only this kernel op; may be repeated.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    peers: Annotated[
        bool, typer.Option("--peers", help="Also time flash-linear-attention and titans-pytorch, if installed. GPU only.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Check every kernel case against float64, then time it beside plain torch. A case that fails prints no speed; exit 1."""
    from nlbench import api, display

    with display.benchmarking() as listen:
        report = api.bench_kernels(op or (), device, peers=peers, listen=listen)
    display.kernels(report, json)
    raise typer.Exit(0 if report.passed else 1)


@bench_app.command("runs")
def bench_runs(
    stream: Annotated[
        list[str] | None, typer.Option("--stream", "-s", help="Only runs on this stream; may be repeated. All: ten minutes.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often each is timed, in turns with the others.")] = 5,
    commands: Annotated[bool, typer.Option(help="Also time whole commands, from start to record.")] = True,
    data: Data = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Time runs of the MLP beside a tight hand-written torch loop that learns the same, in the same process.

    First the accuracies of both are compared: if they disagree, exit 1. A ratio of 2 says that nlbench trains a seed in half the
    loop's time. Example: nlbench bench runs --stream split-digits
    """
    from nlbench import api, display

    report = api.bench_runs(stream or (), repeats=repeats, commands=commands, data=data)
    display.runs(report, json)
    raise typer.Exit(0 if report.passed else 1)


@app.command("list")
def list_(
    what: Annotated[Kind, typer.Argument(help="What to list.")] = Kind.all,
    results: Results = Path("results"),
) -> None:
    """List models, streams, metrics or records."""
    from nlbench import display

    display.catalog(what.value, results)


@app.command()
def show(
    names: Annotated[list[str], typer.Argument(help="Models, streams, recipe or stream files, or records.")],
    format: Annotated[RunFormat, typer.Option(help="Output format.")] = RunFormat.table,
) -> None:
    """Show what names or files hold: a declaration, or a record with its matrix, metrics and provenance.

    As JSON, several are one list.
    """
    from nlbench import display

    display.show(names, format == RunFormat.json)


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="A record.")],
    second: Annotated[Path, typer.Argument(help="Another record.")],
) -> None:
    """Show which facts differ between two records: declarations, data, seeds, code, machine, versions."""
    from nlbench import display

    display.diff(first, second)


@app.command()
def export(
    paths: Annotated[list[Path], typer.Argument(help="Records, folders of records, or both.")],
    out: Annotated[Path, typer.Option(help="A .csv, .jsonl or .parquet file to write all rows to.")],
) -> None:
    """Write the rows of records to one file."""
    from nlbench import display

    display.export(paths, out)


@app.command()
def prune(
    results: Results = Path("results"),
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; otherwise they are only named.")] = False,
) -> None:
    """Name records that a newer one supersedes and what killed runs left behind, checkpoints included. References never go."""
    from nlbench import display

    display.prune(results, delete)


@app.command()
def migrate(files: Annotated[list[Path], typer.Argument(help="Records.")]) -> None:
    """Rewrite records of an older schema in today's, in place."""
    from nlbench import display

    display.migrate(files)


@app.command()
def validate(files: Annotated[list[Path], typer.Argument(help="Stream and recipe files, or records.")]) -> None:
    """Check files and report every broken rule at once; exit 2 if there is one."""
    from nlbench import display

    display.validate(files)


@data_app.command("fetch")
def data_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets; none means all.")] = None, data: Data = None
) -> None:
    """Download what is missing, and check every checksum."""
    from nlbench import display

    display.data(names, data, download=True)


@data_app.command("verify")
def data_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets; none means all.")] = None, data: Data = None
) -> None:
    """Check the checksums of the data sets that are here; exit 2 if one is missing or differs."""
    from nlbench import display

    display.data(names, data, download=False)


def _overrides(pairs: list[str] | None, option: str = "--set") -> dict[str, str]:
    """Return `key=value` options as a dict."""
    wrong = [pair for pair in pairs or [] if "=" not in pair]
    if wrong:
        raise NlbenchError(f"{option} {wrong[0]}: must be key=value, such as learner.rate=0.05.")
    return {key.strip(): value.strip() for key, _, value in (pair.partition("=") for pair in pairs or [])}


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 the gate said no, 2 mend something, 70 a defect of nlbench, 130 interrupted."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `check | head` must not end with 1, which is a verdict
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    gc.set_threshold(100_000)  # importing makes many objects and little garbage
    try:
        try:
            app(arguments)
        finally:
            sys.stdout.flush()
    except NlbenchError as error:
        _complain(str(error), debug)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _complain("interrupted.")
        sys.exit(130)
    except OSError as error:
        _complain(f"{error.filename or 'output'}: {error.strerror}.", debug)
        if error.filename is None:  # what is left in the buffer would fail again when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
    except Exception as error:
        remedy = "Run again with --debug for the traceback, and please report it."
        _complain(f"defect: {type(error).__name__}: {error}. {remedy}", debug)
        raise SystemExit(70) from error


def _complain(message: str, debug: bool = False) -> None:
    """Write the message, or with `debug` the traceback of the exception that is being handled."""
    sys.stderr.write(traceback.format_exc() if debug else f"nlbench: {message}\n")
