"""A run while it happens, and what it would cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rich.table import Table

from nlbench.api.running import Listener
from nlbench.display.console import err, escape, flat, lay_out, mean_text, note, out, seeds_text, size_text, write_json
from nlbench.errors import InterruptedRunError
from nlbench.plan import Plan
from nlbench.records import Row

if TYPE_CHECKING:
    from nlbench.runner import Estimate


@contextmanager
def progress(plan: Plan, results: Path, missing: Sequence[int], *, quiet: bool) -> Iterator[Listener | None]:
    """Give a listener that shows each task as it ends: a live bar on a terminal, plain lines elsewhere, nothing when `quiet`."""
    if missing and len(missing) < len(plan.seeds):
        note(f"recorded already: {len(plan.seeds) - len(missing)} of {len(plan.seeds)} seeds; running {seeds_text(missing)}")
    if not missing:
        yield None
        return
    watch = None if quiet else _Watch(plan, missing)
    try:
        if watch is not None and err.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            with Progress(*columns, console=err, transient=True) as bar:
                watch.bar, watch.bar_task = (
                    bar,
                    bar.add_task(escape(f"{plan.model} on {plan.stream_name}"), total=plan.stream.stream.tasks),
                )
                yield watch
        else:
            yield watch
    except KeyboardInterrupt:
        place = plan.record_path(results).parent
        done = f" after {watch.completed or 0} of {plan.stream.stream.tasks} tasks" if watch is not None else ""
        raise InterruptedRunError(f"interrupted{done}.", f"What is done is kept in {place}; the same command resumes.") from None


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
            f"{plan.model} on {plan.stream_name} ({plan.stream.stream.scenario}), {seeds_text(seeds)}, batches of {plan.batch}",
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
            text = f"accuracy on it {mean_text([row.value for row in here if row.on_task == task])}"
            seen = [row for row in here if row.on_task is not None and row.on_task <= task]
            if len({row.on_task for row in seen}) == task:  # not in a window
                text += f", on all so far {mean_text([row.value for row in seen])}"
            now = perf_counter()
            err.print(f"  task {task:>{len(str(self.tasks))}}/{self.tasks}  {text}  ({now - self.clock:.1f} s)", markup=False)
        self.clock = perf_counter()


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
        write_json({**facts, **costs})
        return
    grid = Table(
        title=escape(f"{plan.model} on {plan.stream_name}: what would run"),
        title_justify="left",
        box=None,
        pad_edge=False,
        show_header=False,
    )
    grid.add_column(style="dim")
    grid.add_column()
    for table in ("stream_spec", "terms", "evaluation", "learner_spec"):
        for key, value in flat(facts[table]):
            grid.add_row(escape(key), escape(str(value)))
    grid.add_row("precision", plan.precision)
    grid.add_row("seeds", ", ".join(map(str, plan.seeds)))
    grid.add_row("steps", f"{cost.steps:,} (batches of {plan.batch})")
    for period, count in cost.updates.items():
        grid.add_row(f"level of period {period}", f"{count:,} updates")
    grid.add_row("bytes per seed", escape(", ".join(f"{kind} {size_text(size)}" for kind, size in cost.bytes_per_seed.items())))
    grid.add_row("time", f"about {cost.seconds:.1f} s on this machine, all seeds together")
    grid.add_row("fingerprint", plan.fingerprint)
    lay_out(out, grid)
