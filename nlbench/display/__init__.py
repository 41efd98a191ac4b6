"""Every table, live progress and message. Only this package prints."""

from nlbench.display.catalog import catalog, data, show, validate
from nlbench.display.console import line, note
from nlbench.display.files import diff, export, migrate, prune, report
from nlbench.display.kernels import benchmarking, kernels, runs
from nlbench.display.records import record, run
from nlbench.display.running import dry_run, progress
from nlbench.display.verdicts import comparison, judgements, search, trial, updates

__all__ = [
    "benchmarking",
    "catalog",
    "comparison",
    "data",
    "diff",
    "dry_run",
    "export",
    "judgements",
    "kernels",
    "line",
    "migrate",
    "note",
    "progress",
    "prune",
    "record",
    "report",
    "run",
    "runs",
    "search",
    "show",
    "trial",
    "updates",
    "validate",
]
