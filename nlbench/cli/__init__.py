"""The command line: one module a command, which parses, calls one function of `nlbench.api` and shows what comes back.

A command imports what it needs when it is called, so that `--help` and readers start at once.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType
from typing import Annotated, NoReturn

import typer

from nlbench.cli import (
    bench,
    check,
    compare,
    data,
    diff,
    doctor,
    export,
    flops,
    migrate,
    orders,
    prune,
    publish,
    report,
    rerun,
    run,
    show,
    streams,
    sweep,
    tune,
    validate,
    verify,
)
from nlbench.cli import list as listing
from nlbench.errors import NlbenchError
from nlbench.escaping import terminal

COMMANDS = (
    *(run.run, sweep.sweep, compare.compare, report.report, publish.publish, check.check, rerun.rerun, verify.verify),
    *(doctor.doctor, tune.tune, orders.orders),
    *(listing.list_, show.show),
    *(diff.diff, flops.flops, export.export, prune.prune, migrate.migrate, validate.validate),
)


def _version(shown: bool) -> None:
    if shown:
        from nlbench import __version__
        from nlbench.display.console import line

        line(__version__)
        raise typer.Exit


def top(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. May stand anywhere.")] = False,
) -> None:
    """The options that come before a command."""


def _line(commands: Mapping[str, Callable[..., None]]) -> typer.Typer:
    """Return a command line of these commands."""
    made = typer.Typer(
        name="nlbench",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Measure continual learning: streams of tasks, one protocol, records that can be compared and gated.\n\n"
        "Start with: nlbench run --model hope --stream split-digits, then: nlbench compare results/*",
    )
    made.callback()(top)
    for name, command in commands.items():
        made.command(name)(command)
    return made


_NAMED = {command.__name__.rstrip("_"): command for command in COMMANDS}
app = _line(_NAMED)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")


def _asked(arguments: list[str]) -> typer.Typer:
    """Return the command line that the arguments are for: of all commands, or of the one that they begin with, as typer looks at
    every option of every command that there is before it obeys one.
    """
    name = arguments[0] if arguments else ""
    return _line({name: _NAMED[name]}) if name in _NAMED else app


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 the gate said no, 2 mend something, 70 a defect of nlbench, 130 interrupted."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    gc.set_threshold(100_000)  # importing makes many objects and little garbage
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # and not ignored, as in the background of a script
        signal.signal(signal.SIGINT, _interrupted)
    try:
        with streams.prepared():
            _obey(arguments, debug)
    except KeyboardInterrupt:  # the one there is came while something else was told
        sys.exit(130)
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupted:
            signal.signal(signal.SIGINT, before)


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    """End the command; the same keys once more, pressed while it ends, do nothing."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_in_peace() -> None:
    """Let further keys do nothing while the process ends, which has told that it was interrupted."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, lambda number, frame: None)


def _obey(arguments: list[str], debug: bool) -> None:
    try:
        try:
            _asked(arguments)(arguments)
        finally:
            sys.stdout.flush()
    except NlbenchError as error:
        if error.exit_code > 128:
            _end_in_peace()
        _complain(str(error), debug)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _end_in_peace()
        _complain("interrupted.")
        sys.exit(130)
    except OSError as error:
        unnamed = "the folder that this was started in" if isinstance(error, FileNotFoundError) else "output"
        _complain(f"{error.filename or unnamed}: {error.strerror}.", debug)
        if error.filename is None:  # what is left in the buffer would fail again when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
    except Exception as error:
        remedy = "Run again with --debug for the traceback, and please report it."
        _complain(f"defect: {type(error).__name__}: {error}. {remedy}", debug)
        raise SystemExit(70) from error


def _complain(message: str, debug: bool = False) -> None:
    """Write the message, or with `debug` the traceback of the exception that is being handled."""
    shown = "\n".join(map(terminal, f"nlbench: {message}".split("\n")))
    with suppress(OSError):  # a terminal that hung up
        sys.stderr.write(traceback.format_exc() if debug else f"{shown}\n")
