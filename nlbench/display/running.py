"""A run while it happens, and what it would cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rich.table import Table

from nlbench.api.progress import SELDOM, in_words
from nlbench.display.console import err, escape, flat, lay_out, mean_text, note, out, seeds_text, size_text, write_json
from nlbench.errors import InterruptedRunError
from nlbench.plan import Plan
from nlbench.records import Row
from nlbench.records.storage import storage

if TYPE_CHECKING:
    from nlbench.runner import Estimate, Moment


@contextmanager
def progress(plan: Plan, results: Path, missing: Sequence[int], *, quiet: bool) -> Iterator[Watch | None]:
    """Give what shows a run: each task as it ends, and between, on a terminal a live bar, elsewhere a line now and then; nothing
    when `quiet`.
    """
    if missing and len(missing) < len(plan.seeds):
        note(f"recorded already: {len(plan.seeds) - len(missing)} of {len(plan.seeds)} seeds; running {seeds_text(missing)}")
    if not missing:
        yield None
        return
    watch = None if quiet else Watch(plan, missing)
    try:
        if watch is not None and err.is_terminal:
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

            with Progress(SpinnerColumn(), BarColumn(20), TextColumn("{task.description}"), console=err, transient=True) as bar:
                watch.bar, watch.bar_task = bar, bar.add_task(escape(f"{plan.model} on {plan.stream_name}"), total=None)
                yield watch
        else:
            yield watch
    except KeyboardInterrupt:
        saved = plan.of_seeds(tuple(missing)).checkpoint_path(results)
        kept = f"What is done is kept in {plan.record_path(results).parent}; the same command resumes."
        hint = kept if storage(saved).exists(saved) else "Nothing was saved: the same command starts anew."
        done = f" after {watch.completed or 0} of {plan.stream.stream.tasks} tasks" if watch is not None else ""
        raise InterruptedRunError(f"interrupted{done}.", hint) from None


@contextmanager
def again(*, quiet: bool) -> Iterator[Callable[[Moment], None]]:
    """Give what shows how far a run is that leaves no record: a live line on a terminal; nothing elsewhere or when `quiet`."""
    with err.status("running again") as status:
        if quiet or not err.is_terminal:
            status.stop()
        yield lambda moment: status.update(escape(f"running again: {in_words(moment)}"))


class Watch:
    """Shows a run: its rows become one line a finished task, and its moments what stands between these. Of a run that is
    refused before its first row nothing is shown.
    """

    def __init__(self, plan: Plan, seeds: Sequence[int]) -> None:
        self.head = (
            f"{plan.model} on {plan.stream_name} ({plan.stream.stream.scenario}), {seeds_text(seeds)}, batches of {plan.batch}"
        )
        self.tasks = plan.stream.stream.tasks
        self.completed: int | None = None
        self.accuracies: list[Row] = []
        self.clock = self.printed = perf_counter()
        self.bar: Any = None
        self.bar_task: Any = None

    def row(self, row: Row) -> None:
        """Take a row of the run."""
        self._begin()
        if row.metric == "accuracy":
            self.accuracies.append(row)
        elif row.metric == "seconds.evaluate":
            self._boundary(row.after_task or 0)

    def moment(self, moment: Moment) -> None:
        """Take a moment of the run."""
        self._begin()
        if self.bar is not None:
            self.bar.update(self.bar_task, completed=moment.samples, total=moment.total, description=in_words(moment))
        elif perf_counter() - self.printed >= SELDOM:
            self._print(f"  {in_words(moment)}")

    def _begin(self) -> None:
        if self.head:
            self._print(self.head)
            self.head = ""

    def _boundary(self, task: int) -> None:
        self.completed = task
        here = [row for row in self.accuracies if row.after_task == task and row.value is not None]
        self.accuracies.clear()
        if task:
            text = f"accuracy on it {mean_text([row.value for row in here if row.on_task == task])}"
            seen = [row for row in here if row.on_task is not None and row.on_task <= task]
            if len({row.on_task for row in seen}) == task:  # not in a window
                text += f", on all so far {mean_text([row.value for row in seen])}"
            seconds = perf_counter() - self.clock
            self._print(f"  task {task:>{len(str(self.tasks))}}/{self.tasks}  {text}  ({seconds:.1f} s)")
        self.clock = perf_counter()

    def _print(self, text: str) -> None:
        err.print(text, markup=False)
        self.printed = perf_counter()


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
