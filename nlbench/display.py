"""Every table, live progress and message. Only this module prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nlbench import catalog as catalogs
from nlbench import gate, specs
from nlbench import metrics as definitions
from nlbench.api import Listener, Run
from nlbench.comparison import tables
from nlbench.comparison.statistics import mean_interval
from nlbench.errors import DataError, NlbenchError, SpecError
from nlbench.plan import Plan
from nlbench.records import Record, Row, read_record, read_records

if TYPE_CHECKING:
    from nlbench.comparison import Comparison
    from nlbench.gate import Judgement, Update
    from nlbench.runner import Estimate
    from nlbench.tune import Search, Trial

HEADLINE = (
    "average_accuracy",
    "average_incremental_accuracy",
    "learning_accuracy",
    "forgetting",
    "forgetting_worst",
    "backward_transfer",
    "forward_transfer",
    "min_accuracy",
    "worst_case_accuracy",
    "learning_curve_area",
)
"""The metrics that `run` and `show` print; the record holds all of them."""

out = Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def line(text: str) -> None:
    """Print one line as it is."""
    out.print(text, markup=False, soft_wrap=True)


def note(message: str) -> None:
    """Print a remark to stderr."""
    err.print(f"[dim]{escape(message)}[/]")


def _json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


# progress


@contextmanager
def progress(plan: Plan, results: Path, missing: Sequence[int], *, quiet: bool) -> Iterator[Listener | None]:
    """Give a listener that shows each task as it ends: a live bar on a terminal, plain lines elsewhere, nothing when `quiet`."""
    if missing and len(missing) < len(plan.seeds):
        note(f"recorded already: {len(plan.seeds) - len(missing)} of {len(plan.seeds)} seeds; running {_seeds(missing)}")
    if quiet or not missing:
        yield None
        return
    watch = _Watch(plan, missing)
    try:
        if err.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            with Progress(*columns, console=err, transient=True) as bar:
                watch.bar, watch.bar_task = (
                    bar,
                    bar.add_task(f"{plan.model} on {plan.stream_name}", total=plan.stream.stream.tasks),
                )
                yield watch
        else:
            yield watch
    except KeyboardInterrupt:
        place = plan.record_path(results).parent
        raise NlbenchError(
            f"interrupted after {watch.completed or 0} of {plan.stream.stream.tasks} tasks.",
            f"What is done is kept in {place}; the same command resumes.",
        ) from None


class _Watch:
    """Turns rows into progress: one line a finished task."""

    def __init__(self, plan: Plan, seeds: Sequence[int]) -> None:
        self.plan = plan
        self.tasks = plan.stream.stream.tasks
        self.seeds = seeds
        self.completed: int | None = None
        self.accuracies: list[Row] = []
        self.clock = perf_counter()
        self.bar: Any = None
        self.bar_task: Any = None
        err.print(
            f"{plan.model} on {plan.stream_name} ({plan.stream.stream.scenario}), {_seeds(seeds)}, batches of {plan.batch}",
            markup=False,
        )

    def __call__(self, row: Row) -> None:
        if row.metric == "accuracy":
            self.accuracies.append(row)
        elif row.metric == "accuracy_within" and self.bar is not None:
            self.bar.update(
                self.bar_task, description=f"task {min((row.after_task or 0) + 1, self.tasks)}, {row.samples_seen:,} samples"
            )
        elif row.metric == "seconds.evaluate":
            self._boundary(row.after_task or 0)

    def _boundary(self, task: int) -> None:
        self.completed = task
        here = [row for row in self.accuracies if row.after_task == task and row.value is not None]
        self.accuracies.clear()
        if self.bar is not None:
            self.bar.update(self.bar_task, completed=task, description=f"task {min(task + 1, self.tasks)}")
        if task:
            learned = _mean([row.value for row in here if row.on_task == task])
            seen = _mean([row.value for row in here if row.on_task is not None and row.on_task <= task])
            now = perf_counter()
            err.print(
                f"  task {task:>{len(str(self.tasks))}}/{self.tasks}"
                f"  accuracy on it {learned}, on all so far {seen}  ({now - self.clock:.1f} s)",
                markup=False,
            )
        self.clock = perf_counter()


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _number(sum(known) / len(known)) if known else "–"


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    run = list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"seeds {seeds[0]} to {seeds[-1]}" if run else f"seeds {', '.join(map(str, seeds))}"


# a run and its record


def run(done: Run, as_json: bool) -> None:
    """Print a finished run."""
    if as_json:
        _json({"record": str(done.path), "seeds_run": list(done.seeds_run), **_plain(done.record)})
        return
    record(done.record)
    if not done.seeds_run:
        out.print("Every seed was recorded already; nothing ran.", style="dim")
    out.print(Text("record  ", style="dim") + Text(str(done.path), style="bold"), soft_wrap=True)


def record(found: Record) -> None:
    """Print a record's accuracy matrix, metrics, costs."""
    out.print()
    out.print(
        f"[bold]{escape(found.model)}[/] on [bold]{escape(found.stream)}[/] ({found.scenario}), {_seeds(found.seeds)}:"
        " mean accuracy on each task"
    )
    out.print(_matrix(found))
    out.print(_metric_table(found))
    out.print()
    seconds = ", ".join(f"{phase} {value:.2f} s" for phase, value in sorted(found.seconds().items(), reverse=True))
    sizes = ", ".join(f"{kind} {_size(value)}" for kind, value in found.bytes().items() if value)
    out.print(f"[dim]seconds[/] {seconds} (all seeds together)   [dim]bytes per seed[/] {sizes or '0 B'}")


def _matrix(found: Record) -> Table:
    """Return R, mean over seeds: a row per boundary, a column per task; what is still to come is dim."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("after")
    mean = found.accuracies.mean(0)
    for task in range(1, found.n_tasks + 1):
        grid.add_column(f"task {task}" if found.n_tasks <= 6 else str(task), justify="right")
    for i in range(found.n_tasks + 1):
        cells = [_cell(mean[i, j], i, j + 1) for j in range(found.n_tasks)]
        grid.add_row("no task" if i == 0 else f"task {i}", *cells)
    return grid


def _cell(value: Any, after: int, task: int) -> Text:
    if value is None or getattr(value, "mask", False) is True or str(value) == "--":
        return Text("–", style="dim")
    number = float(value)
    if task > after:
        return Text(_number(number), style="dim")
    # from orange to blue: readable without red and green
    low, high = (230, 97, 1), (33, 113, 181)
    share = min(max(number, 0.0), 1.0)
    colour = "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(low, high, strict=True))
    return Text(_number(number), style=f"{'bold ' if task == after else ''}{colour}")


def _metric_table(found: Record) -> Table:
    grid = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    grid.add_column("metric", min_width=28)
    grid.add_column("mean", justify="right", min_width=6)
    grid.add_column("95 % interval", justify="right", min_width=16)
    grid.add_column("", style="dim", no_wrap=True, overflow="ellipsis")
    for name in HEADLINE:
        values = [value for value in found.metric(name).values() if value is not None]
        if values:
            interval = mean_interval(_array(values))
            bounds = f"{_number(interval.low)} … {_number(interval.high)}" if len(values) > 1 else "one seed"
            grid.add_row(name, _number(sum(values) / len(values)), bounds, escape(definitions.METRICS[name].formula))
        else:
            grid.add_row(name, "–", "", escape(found.reason(name)))
    chance = float(found.chance.mean())
    grid.add_row("chance", _number(chance), "", "the best constant label; forgetting means nothing at chance")
    learned = [value for value in found.metric("learning_accuracy").values() if value is not None]
    if learned and mean_interval(_array(learned)).low <= chance:
        grid.add_row(
            Text("at chance", style="bold"), "", "", "learning accuracy is not above chance: its forgetting says nothing"
        )
    return grid


def _plain(found: Record) -> dict[str, Any]:
    """Return a record's headline as plain values."""
    metrics: dict[str, Any] = {}
    for name in definitions.METRICS:
        by_seed = found.metric(name) if definitions.METRICS[name].needs != "references" else {}
        known = [value for value in by_seed.values() if value is not None]
        if not by_seed:
            continue
        interval = mean_interval(_array(known)) if len(known) > 1 else None
        metrics[name] = {
            "mean": sum(known) / len(known) if known else None,
            "low": interval.low if interval else None,
            "high": interval.high if interval else None,
            "by_seed": by_seed,
            "reason": None if known else found.reason(name),
        }
    return {
        "model": found.model,
        "stream": found.stream,
        "scenario": found.scenario,
        "fingerprint": found.fingerprint,
        "seeds": list(found.seeds),
        "chance": float(found.chance.mean()),
        "accuracy": found.accuracies.mean(0).tolist(),
        "metrics": metrics,
        "bytes": found.bytes(),
        "seconds": found.seconds(),
    }


def _array(values: Sequence[float]) -> Any:
    import numpy

    return numpy.asarray(values)


def _number(value: float) -> str:
    return f"{value:.3f}"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


# dry run


def dry_run(plan: Plan, cost: Estimate, as_json: bool) -> None:
    """Print the resolved run and what it would cost."""
    facts = plan.describe()
    costs = {
        "steps": cost.steps,
        "updates": cost.updates,
        "bytes_per_seed": cost.bytes_per_seed,
        "seconds_estimate": round(cost.seconds, 1),
    }
    if as_json:
        _json({**facts, **costs})
        return
    grid = Table(
        title=f"{plan.model} on {plan.stream_name}: what would run",
        title_justify="left",
        box=None,
        pad_edge=False,
        show_header=False,
    )
    grid.add_column(style="dim")
    grid.add_column()
    for table in ("stream_spec", "learner_spec"):
        for key, value in _flat(facts[table]):
            grid.add_row(key, str(value))
    grid.add_row("seeds", ", ".join(map(str, plan.seeds)))
    grid.add_row("steps", f"{cost.steps:,} (batches of {plan.batch})")
    for period, count in cost.updates.items():
        grid.add_row(f"level of period {period}", f"{count:,} updates")
    grid.add_row("bytes per seed", ", ".join(f"{kind} {_size(size)}" for kind, size in cost.bytes_per_seed.items()))
    grid.add_row("time", f"about {cost.seconds:.1f} s on this machine, all seeds together")
    grid.add_row("fingerprint", plan.fingerprint)
    out.print(grid)


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif value not in (None, ""):
            yield f"{prefix}{key}", value


# search


def trial(found: Trial) -> None:
    """Print one finished candidate to stderr."""
    score = "diverged" if found.score is None else f"{found.score:.4f}"
    err.print(f"  {score:>8}  {_pairs(found.values)}  ({found.seconds:.1f} s)", markup=False)


def search(found: Search, as_json: bool) -> None:
    """Print a finished search: its best trials, and the lines for the recipe."""
    if as_json:
        _json({**asdict(found), "rule": found.rule})
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in (found.objective, "forgetting", "learning accuracy", "values"):
        grid.add_column(column, justify="left" if column == "values" else "right")
    for one in found.trials[:10]:
        shown = [one.score, one.metrics.get("forgetting"), one.metrics.get("learning_accuracy")]
        grid.add_row(*("–" if value is None else f"{value:.4f}" for value in shown), escape(_pairs(one.values)))
    out.print(grid)
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


# catalog


def catalog(what: str, results: Path) -> None:
    """Print what there is to choose from."""
    if what in ("all", "models"):
        _names("models", [(name, _title("model", name)) for name in catalogs.names("model")])
    if what in ("all", "streams"):
        _names("streams", [(name, _title("stream", name)) for name in catalogs.names("stream")])
    if what in ("all", "metrics"):
        _metrics()
    if what in ("all", "records"):
        _records(results)


def _title(kind: catalogs.Kind, name: str) -> str:
    return str(specs.read_table(catalogs.find(kind, name)).get("title", ""))


def _names(title: str, rows: Sequence[tuple[str, str]]) -> None:
    grid = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(style="dim")
    for row in rows:
        grid.add_row(*map(escape, row))
    out.print(grid, "")


def _metrics() -> None:
    grid = Table(title="metrics", title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in ("name", "better", "formula and source"):
        grid.add_column(column, no_wrap=column == "name")
    for metric in definitions.METRICS.values():
        grid.add_row(metric.name, metric.better, f"{escape(metric.formula)}  [dim]{escape(metric.source)}[/]")
    out.print(grid, "")


def _records(results: Path) -> None:
    if not results.is_dir() or not any(results.glob("*.parquet")):
        out.print(f"no records in {results} yet: nlbench run --model hope --stream split-digits", markup=False)
        return
    found, notes = read_records([results])
    grid = Table(
        title=f"records in {results}", title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim"
    )
    for column in ("model", "stream", "scenario", "seeds", "average accuracy", "forgetting", "file"):
        grid.add_column(column, no_wrap=column != "file")
    for item in found:
        shown = [_mean(list(item.metric(name).values())) for name in ("average_accuracy", "forgetting")]
        grid.add_row(item.model, item.stream, item.scenario, str(len(item.seeds)), *shown, item.path.name)
    out.print(grid)
    for remark in notes:
        note(str(remark))


def show(name_or_path: str, as_json: bool) -> None:
    """Print a declaration, or a record with its provenance."""
    path = Path(name_or_path)
    if path.suffix == ".parquet" or path.is_dir():
        found = read_record(path)
        if as_json:
            _json({**_plain(found), "metadata": found.metadata})
            return
        record(found)
        _facts(found)
        return
    path = _declared(name_or_path)
    kind = specs.validate_file(path)
    text = path.read_text(encoding="utf-8")
    if as_json:
        _json({"kind": kind, "name": path.stem, "declaration": specs.read_table(path)})
        return
    from rich.syntax import Syntax

    out.print(f"[dim]{kind}[/] [bold]{escape(path.stem)}[/]")
    out.print(Syntax(text.strip(), "toml", background_color="default", word_wrap=True))


def _declared(name: str) -> Path:
    if name.endswith(".toml") or "/" in name:
        return catalogs.find("model", name)
    if name in catalogs.names("stream"):
        return catalogs.find("stream", name)
    if name in catalogs.names("model"):
        return catalogs.find("model", name)
    from nlbench.errors import UnknownNameError

    raise UnknownNameError("model, stream or record", name, [*catalogs.names("model"), *catalogs.names("stream")])


def _facts(found: Record) -> None:
    grid = Table(title="provenance", title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False)
    grid.add_column(style="dim")
    grid.add_column()
    for key, value in _flat({key: value for key, value in found.metadata.items() if key != "runs"}):
        grid.add_row(key, escape(str(value)))
    out.print("", grid)


def validate(files: Sequence[Path]) -> None:
    """Check declarations and records; print one line each. Raises `SpecError` with every broken rule of every file."""
    problems: list[str] = []
    for path in files:
        try:
            kind = "record" if path.suffix == ".parquet" else specs.validate_file(path)
            if kind == "record":
                read_record(path).verify_all()
            out.print(f"{path}: a {kind}, no rule broken", markup=False, soft_wrap=True)
        except SpecError as error:
            problems += error.problems
        except NlbenchError as error:
            problems.append(str(error))
    if problems:
        raise SpecError(problems)


def data(names: Sequence[str] | None, folder: Path | None, *, download: bool) -> None:
    """Fetch or verify data sets and print where each lies. Raises the first error after all were tried."""
    from nlbench.errors import UnknownNameError
    from nlbench.streams import sources

    unknown = [name for name in names or () if name not in specs.SOURCES]
    if unknown:
        raise UnknownNameError("data set", unknown[0], specs.SOURCES)
    problems = []
    for name in names or list(specs.SOURCES):
        try:
            found = (sources.fetch if download else sources.verify)(name, folder)
            out.print(f"{name}: {len(found)} files verified in {next(iter(found.values())).parent}", markup=False, soft_wrap=True)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))


# comparison


def comparison(result: Comparison, notes: Sequence[object], form: str) -> None:
    """Print a comparison."""
    for remark in notes:
        note(str(remark))
    renderers = {"md": "to_markdown", "csv": "to_csv", "json": "to_json", "latex": "to_latex"}
    if form in renderers:
        sys.stdout.write(getattr(result, renderers[form])().rstrip("\n") + "\n")
        return
    for group in result.groups:
        _plain_table(tables.learner_table(group, result.columns))
        if any(entry.paired for entry in group.entries):
            _plain_table(tables.paired_table(group))
        for remark in tables.remarks(group):
            out.print(remark, style="dim", markup=False)
        out.print()
    for metric, ranking in result.overall.items():
        out.print(tables.ranking_text(metric, ranking), style="dim", markup=False)
    for remark in result.mismatches:
        out.print(remark, style="dim", markup=False)


def _plain_table(table: tables.Table) -> None:
    grid = Table(title=escape(table.title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.header:
        grid.add_column(
            escape(column).replace("_", " "), justify="left" if column in ("learner", "metric", "verdict") else "right"
        )
    for row in table.rows:
        grid.add_row(*map(escape, row))
    out.print(grid)


# the gate

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
