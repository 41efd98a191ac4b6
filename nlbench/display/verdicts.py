"""Comparisons, the gate's judgements, and finished searches."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nlbench import gate, specs
from nlbench.comparison import tables
from nlbench.display.console import err, lay_out, line, note, out, write_json
from nlbench.errors import NlbenchError
from nlbench.metrics import with_stand_in

if TYPE_CHECKING:
    from nlbench.comparison import Comparison
    from nlbench.gate import Judgement, Update
    from nlbench.tune import Search, Trial


def comparison(result: Comparison, notes: Sequence[object], form: str) -> None:
    """Print a comparison."""
    for remark in notes:
        note(str(remark))
    renderers = {"md": "to_markdown", "csv": "to_csv", "json": "to_json", "latex": "to_latex"}
    if form in renderers:
        sys.stdout.write(getattr(result, renderers[form])().rstrip("\n") + "\n")
        return
    size = sum(len(table.rows) for table in result.tables())
    show = _plain_table if size <= PRETTY_ROWS and out.is_terminal else lambda table: line(tables.to_text(table) + "\n")
    for group in result.groups:
        show(tables.learner_table(group))
        if any(entry.paired for entry in group.entries):
            show(tables.paired_table(group))
        line("\n".join([*tables.remarks(group), ""]))
    closing = [*(tables.ranking_text(metric, ranking) for metric, ranking in result.overall.items()), *result.mismatches]
    if closing:
        line("\n".join(closing))


PRETTY_ROWS = 200
"""More rows than this, or rows for no terminal, are printed as plain aligned text: laying them out takes seconds."""


def _plain_table(table: tables.Table) -> None:
    grid = Table(title=escape(table.title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.header:
        grid.add_column(
            escape(column).replace("_", " "), justify="left" if column in ("learner", "metric", "verdict") else "right"
        )
    for row in table.rows:
        grid.add_row(*map(escape, row))
    lay_out(out, grid)


VERDICT_STYLES = {"ok": "bold blue", "better": "bold blue", "worse": "bold #e66101"}
"""Passing and failing verdicts; what cannot be judged is bold alone."""


def judgements(found: Sequence[Judgement], junit: Path | None, markdown: Path | None, as_json: bool) -> None:
    """Print the gate's judgements, and write them where asked; on GitHub, annotate too."""
    if junit is not None:
        _write(junit, gate.to_junit(found))
    if markdown is not None:
        _write(markdown, gate.to_markdown(found), append=True)
    if as_json:
        sys.stdout.write(gate.to_json(found) + "\n")
        return
    for judgement in found:
        for text in gate.to_text(judgement).splitlines():
            words = text.split(maxsplit=1)
            verdict = words[0] if words and text.startswith(" ") else ""
            out.print(
                Text(text, style=VERDICT_STYLES.get(verdict, "bold" if verdict not in ("", "changed") else "")), soft_wrap=True
            )
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for annotation in gate.to_annotations(found):
            line(annotation)


def updates(found: Sequence[Update]) -> None:
    """Print what became of each record as a reference."""
    for one in found:
        line(f"{one.reference}: {'written' if one.written else 'kept'}: {one.reason}")


def _write(path: Path, text: str, *, append: bool = False) -> None:
    try:
        with path.open("a" if append else "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise NlbenchError(f"{path}: cannot be written: {error.strerror}.") from None


def trial(found: Trial) -> None:
    """Print one finished candidate to stderr."""
    score = "diverged" if found.score is None else f"{found.score:.4f}"
    err.print(f"  {score:>8}  {_pairs(found.values)}  ({found.seconds:.1f} s)", markup=False)


def search(found: Search, as_json: bool) -> None:
    """Print a finished search: its best trials, and the lines for the recipe."""
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
    best = found.trials[0]
    if best.score is None:
        raise NlbenchError("every candidate diverged.", "Widen the space towards smaller rates.")
    lines = [
        f'[on."{found.stream}"]',
        *(f"{key.removeprefix('learner.')} = {_toml(value)}" for key, value in best.values.items()),
    ]
    lines += ["", f'[search."{found.stream}"]', f'rule = "{found.rule}"', f'objective = "{found.objective}"']
    lines += [f"score = {best.score:.4f}", f"seeds = {list(found.seeds)}", f"budget = {len(found.trials)}"]
    lines += [f'space."{key}" = [{", ".join(_toml(value) for value in values)}]' for key, values in found.space.items()]
    out.print("For the recipe:\n", style="dim")
    out.print("\n".join(lines), markup=False, soft_wrap=True)


def _pairs(values: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())


def _toml(text: str) -> str:
    """Return an override's text as TOML: itself if it is a value, else quoted."""
    return json.dumps(text) if isinstance(specs.toml_value(text), str) and not text.startswith(('"', "'")) else text
