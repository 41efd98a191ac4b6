"""Claims on trial: how far their runs are, each verdict as it falls, and all of them at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from nlbench.display.console import err, escape, lay_out, line, note, out, write_json
from nlbench.verify import Judged, facts
from nlbench.verify.words import expected, interval

if TYPE_CHECKING:
    from nlbench.sweep import Outcome
    from nlbench.verify import Trial

STYLES: Final = {"holds": "bold blue", "does not hold": "bold #e66101"}


class Docket:
    """Counts runs and keeps verdicts."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.judged: list[Judged] = []
        self._runs = len({(plan.model, plan.stream_name, plan.fingerprint) for each in trials for plan in each.plans.values()})
        self._claims = len(trials)
        self._ended = 0
        self._status: Any = None

    @contextmanager
    def shown(self) -> Iterator[Docket]:
        """Show how far it is while this lasts, where there is a terminal."""
        with err.status(self._line()) as self._status:
            yield self

    def take(self, event: Outcome | Judged) -> None:
        """Take what became of a run, or a verdict, which is told at once."""
        if isinstance(event, Judged):
            self.judged.append(event)
            text = Text(f"{event.verdict}: ", style=STYLES.get(event.verdict, "bold")) + Text(
                f"{event.name}: {event.claim.title}"
            )
            err.print(text, soft_wrap=True)
        else:
            self._ended += 1
            if event.state in ("failed", "diverged") or event.diverged:
                why = event.error or "; ".join(f"seed {seed}, {said}" for seed, said in event.diverged.items())
                note(f"{event.plan.model} on {event.plan.stream_name}: {event.state}: {why}")
            elif not err.is_terminal and event.state == "run":
                err.print(f"  {self._line()}", markup=False)
        self._status.update(self._line())

    def _line(self) -> str:
        return f"{self._ended} of {self._runs} runs, {len(self.judged)} of {self._claims} claims judged"

    def summary(self, as_json: bool) -> None:
        """Print every statement with its verdict."""
        if as_json:
            write_json([facts(each) for each in self.judged])
            return
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("claim", "verdict", "what must hold", "found", "must be", "seeds"):
            grid.add_column(column)
        for each in self.judged:
            for number, finding in enumerate(each.findings):
                first = escape(each.name) + (" (reduced)" if each.reduced else "") if not number else ""
                verdict = Text(finding.verdict, style=STYLES.get(finding.verdict, "bold"))
                told = escape(finding.statement)
                if finding.verdict in ("undecided", "not comparable"):
                    told += f" [dim]({escape(finding.reason)})[/]"
                grid.add_row(first, verdict, told, interval(finding), expected(finding), str(finding.seeds or "–"))
        lay_out(out, grid)


def dry_run(trials: Sequence[Trial], results: Path, as_json: bool) -> None:
    """Print each claim, and its runs with whether they are recorded."""
    if as_json:
        write_json([_planned(each, results) for each in trials])
        return
    for each in trials:
        line(f"{each.name}: {each.claim.title}" + (f" ({each.obstacle})" if each.obstacle else ""))
        for run in _planned(each, results)["runs"]:
            recorded = "recorded" if run["recorded"] else "to run"
            line(f"  {run['run']}: {run['model']} on {run['stream']}, {run['seeds']} seeds, {recorded}")


def _planned(each: Trial, results: Path) -> dict[str, Any]:
    runs = [
        {
            "run": name,
            "model": plan.model,
            "stream": plan.stream_name,
            "seeds": len(plan.seeds),
            "recorded": plan.record_path(results).is_file(),
        }
        for name, plan in each.plans.items()
    ]
    return {"claim": each.name, "title": each.claim.title, "obstacle": each.obstacle or None, "runs": runs}


def written(path: Path) -> None:
    """Say where the page is."""
    note(f"page written: {path}")
