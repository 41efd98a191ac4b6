"""Searches of a recipe's values, while they go on and when they are done."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from nlbench import specs
from nlbench.display.console import err, escape, lay_out, note, out, write_json
from nlbench.errors import NlbenchError
from nlbench.metrics import with_stand_in

if TYPE_CHECKING:
    from nlbench.tune import Search, Trial


def trial(found: Trial) -> None:
    """Print one finished candidate to stderr."""
    score = "diverged" if found.score is None else f"{found.score:.4f}"
    err.print(f"  {score:>8}  {_pairs(found.values)}  ({found.seconds:.1f} s)", markup=False)


def search(found: Search, as_json: bool) -> None:
    """Print a finished search: its best trials, and the best values as options and as the lines for the recipe."""
    if as_json:
        write_json({**asdict(found), "rule": found.rule})
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    names = with_stand_in(
        ("forgetting", "learning_accuracy"), lambda name: any(one.metrics.get(name) is not None for one in found.trials)
    )
    for column in (found.objective, *names, "values"):
        grid.add_column(column.replace("_", " "), justify="left" if column == "values" else "right")
    for one in found.trials[:10]:
        shown = [one.score, *(one.metrics.get(name) for name in names)]
        grid.add_row(*("–" if value is None else f"{value:.4f}" for value in shown), escape(_pairs(one.values)))
    lay_out(out, grid)
    if not found.trials:
        raise NlbenchError("no candidate was tried.", "Give more time.")
    best = found.trials[0]
    if best.score is None:
        raise NlbenchError("every candidate diverged.", "Widen the space towards smaller rates.")
    _remarks(found)
    lines = [
        f'[on."{found.stream}"]',
        *(f"{key.removeprefix('learner.')} = {_toml(value)}" for key, value in best.values.items()),
    ]
    lines += ["", f'[search."{found.stream}"]', f'rule = "{found.rule}"', f'objective = "{found.objective}"']
    lines += [f"score = {best.score:.4f}", f"seeds = {list(found.seeds)}", f"budget = {len(found.trials)}"]
    lines += [f'sampler = "{found.sampler}"'] if found.sampler != "grid" else []
    lines += [f'space."{key}" = [{", ".join(_toml(value) for value in values)}]' for key, values in found.space.items()]
    options = shlex.join(word for key, value in best.values.items() for word in ("--set", f"{key}={value}"))
    out.print("For the command line: ", style="dim", end="")
    out.print(options, markup=False, soft_wrap=True)
    out.print("For the recipe:\n", style="dim")
    out.print("\n".join(lines), markup=False, soft_wrap=True)


def _remarks(found: Search) -> None:
    """Say how sure the best is, and where what was searched may have been too narrow."""
    if found.interval is not None and found.interval.n > 1:
        low, high = found.interval.low, found.interval.high
        note(f"the best: between {low:.4f} and {high:.4f} (95 %, {found.interval.n} seeds), and as the best of several too good")
    if found.tied:
        others = f"{len(found.tied)} other candidate{'s are' if len(found.tied) > 1 else ' is'}"
        note(f"{others} not told apart from it by these seeds: choose among them by cost, or by what is usual")
    for key in found.edges:
        note(f"the best {key} = {found.trials[0].values[key]} lies at an edge of what was searched: search further that way")


def _pairs(values: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())


def _toml(text: str) -> str:
    """Return an override's text as TOML: itself if it is a value, else quoted."""
    return json.dumps(text) if isinstance(specs.toml_value(text), str) and not text.startswith(('"', "'")) else text
