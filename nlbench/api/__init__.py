"""The Python face of the package: everything that a command does is a function here, which prints nothing.

running       run, resolve, carry_out, missing_seeds, estimate, options, stream_from_arrays, parse_seeds
sweeping      sweep, engine, grid
rerunning     rerun, command_of
ordering      orders
searching     tune, searched, carry_over, check_scenarios
verifying     trials, verify
reading       load, compare, report, publish, diff, check, check_all, update_references
counting      count_flops
conformance   check_learner
learners      load_learner
files         export, export_hub, prune, migrate
validating    validate
choices       listing
showing       named
looking       look
data          fetch_data, known_data, verify_data
benchmarks    bench_kernels, bench_runs

Names are resolved on first use; torch is imported only when something runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlbench import lazy

if TYPE_CHECKING:
    from nlbench.api.benchmarks import bench_kernels, bench_runs
    from nlbench.api.choices import listing
    from nlbench.api.conformance import check_learner
    from nlbench.api.counting import count_flops
    from nlbench.api.data import fetch_data, known_data, verify_data
    from nlbench.api.files import export, export_hub, migrate, prune
    from nlbench.api.learners import load_learner
    from nlbench.api.looking import look
    from nlbench.api.ordering import orders
    from nlbench.api.reading import check, check_all, compare, diff, exit_status, load, publish, report, update_references
    from nlbench.api.rerunning import command_of, rerun
    from nlbench.api.running import (
        Listener,
        Run,
        carry_out,
        estimate,
        missing_seeds,
        options,
        parse_seeds,
        resolve,
        run,
        stream_from_arrays,
    )
    from nlbench.api.searching import carry_over, check_scenarios, searched, tune
    from nlbench.api.showing import named
    from nlbench.api.sweeping import engine, grid, sweep
    from nlbench.api.validating import validate
    from nlbench.api.verifying import trials, verify

__all__ = [
    "Listener",
    "Run",
    "bench_kernels",
    "bench_runs",
    "carry_out",
    "carry_over",
    "check",
    "check_all",
    "check_learner",
    "check_scenarios",
    "command_of",
    "compare",
    "count_flops",
    "diff",
    "engine",
    "estimate",
    "exit_status",
    "export",
    "export_hub",
    "fetch_data",
    "grid",
    "known_data",
    "listing",
    "load",
    "load_learner",
    "look",
    "migrate",
    "missing_seeds",
    "named",
    "options",
    "orders",
    "parse_seeds",
    "prune",
    "publish",
    "report",
    "rerun",
    "resolve",
    "run",
    "searched",
    "stream_from_arrays",
    "sweep",
    "trials",
    "tune",
    "update_references",
    "validate",
    "verify",
    "verify_data",
]

_RUNNING = (
    *("Listener", "Run", "carry_out", "estimate", "missing_seeds", "options", "parse_seeds", "resolve", "run"),
    "stream_from_arrays",
)
_READING = ("check", "check_all", "compare", "diff", "exit_status", "load", "publish", "report", "update_references")

__getattr__ = lazy.names(
    __name__,
    {
        **dict.fromkeys(_RUNNING, "running"),
        **dict.fromkeys(_READING, "reading"),
        **dict.fromkeys(("engine", "grid", "sweep"), "sweeping"),
        **dict.fromkeys(("command_of", "rerun"), "rerunning"),
        **dict.fromkeys(("carry_over", "check_scenarios", "searched", "tune"), "searching"),
        **dict.fromkeys(("trials", "verify"), "verifying"),
        "count_flops": "counting",
        "orders": "ordering",
        "check_learner": "conformance",
        "load_learner": "learners",
        **dict.fromkeys(("export", "export_hub", "migrate", "prune"), "files"),
        "validate": "validating",
        "listing": "choices",
        "named": "showing",
        "look": "looking",
        **dict.fromkeys(("fetch_data", "known_data", "verify_data"), "data"),
        **dict.fromkeys(("bench_kernels", "bench_runs"), "benchmarks"),
    },
)
