"""Claims on trial: how far their runs are, each verdict as it falls, and all of them at the end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from nlbench import escaping
from nlbench.api.progress import clock
from nlbench.display.console import err, in_sight, lay_out, line, note, out, write_json
from nlbench.verify import Judged, facts
from nlbench.verify.judging import SELF_EVIDENT
from nlbench.verify.running import to_run
from nlbench.verify.statements import Value
from nlbench.verify.words import expected, interval

if TYPE_CHECKING:
    from nlbench.plan import Plan
    from nlbench.sweep import Outcome
    from nlbench.verify import Finding, Trial

STYLES: Final = {"holds": "bold blue", "does not hold": "bold #e66101"}


class Docket:
    """Counts runs and keeps verdicts."""

    def __init__(self, trials: Sequence[Trial], slots: int = 1) -> None:
        self.judged: list[Judged] = []
        self._runs = len({_path(plan) for each in trials if not each.obstacle for plan in each.plans.values()})
        self._claims = len(trials)
        self._ended = self._left = 0
        self._running: dict[str, str] = {}
        self._seconds: list[float] = []
        self._slots = slots
        self._since = monotonic()

    def shown(self) -> AbstractContextManager[None]:
        """Show how far it is while this lasts: live in a terminal, elsewhere a line now and then."""
        return in_sight(err, lambda: Text(self.line()), self.line)

    def began(self, plan: Plan) -> None:
        """Take that a run began."""
        self._running[_path(plan)] = f"{plan.model} on {plan.stream_name}"

    def take(self, event: Outcome | Judged) -> None:
        """Take what became of a run, or a verdict, which is told at once."""
        if isinstance(event, Judged):
            self.judged.append(event)
            text = Text(f"{event.verdict}: ", style=STYLES.get(event.verdict, "bold"))
            form = " (reduced)" if event.reduced else ""
            err.print(text + Text(f"{event.name}{form}: {event.claim.title}"), soft_wrap=True)
            return
        self._ended += event.state != "left"
        self._left += event.state == "left"
        self._running.pop(_path(event.plan), None)
        if event.state == "run":
            self._seconds.append(event.seconds)
            self._since = monotonic()
        if event.state in ("failed", "diverged") or event.diverged:
            why = event.error or "; ".join(f"seed {seed}, {said}" for seed, said in event.diverged.items())
            how = "failed" if event.state == "failed" else "diverged"
            note(f"{event.plan.model} on {event.plan.stream_name}: {how}: {why}")
        elif not err.is_terminal and event.state == "run":
            err.print(f"  {self.line()}", markup=False)

    def line(self) -> str:
        """Return how far it is: runs that ended, claims that are judged, the time that is left, and what is being run."""
        parts = [f"{self._ended} of {self._runs} runs", f"{len(self.judged)} of {self._claims} claims judged"]
        if self._seconds and self._runs > self._ended:
            usual = sum(self._seconds) / len(self._seconds)
            left = (self._runs - self._ended) * usual / self._slots - (monotonic() - self._since)
            parts += [f"about {clock(left)} left"] if left > 0 else ["longer than the runs before"]
        return ", ".join(parts) + (f"; running {', '.join(self._running.values())}" if self._running else "")

    def summary(self, as_json: bool) -> None:
        """Print every statement with its verdict."""
        if as_json:
            write_json([facts(each) for each in self.judged])
        else:
            for each in self.judged:
                _show(each)
        if self._left:
            note(f"the budget ended before {self._left} of {self._runs} runs began; the same command goes on.")


def _show(each: Judged) -> None:
    """Print a claim with what must hold, what was found, and why where that is not the verdict's own meaning."""
    style = STYLES.get(each.verdict, "bold")
    out.print(Text(f"{each.name}{' (reduced)' if each.reduced else ''}: ") + Text(each.verdict, style=style))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    reasons = {finding.reason for finding in each.findings}
    if len(reasons) == 1 and all(finding.mean is None for finding in each.findings):
        grid.add_row("", Text(escaping.terminal(reasons.pop())))
    else:
        pairs = zip(each.claim.holds, each.findings, strict=True)
        asked = [finding for statement, finding in pairs if not (each.reduced and isinstance(statement, Value))]
        for finding in asked:
            grid.add_row(Text(f"  {finding.verdict}", style=STYLES.get(finding.verdict, "bold")), _told(finding, each.reduced))
        if published := len(each.findings) - len(asked):
            grid.add_row("", Text(f"{published} published number{'s' * (published > 1)}: in the full form alone", style="dim"))
    lay_out(out, grid)
    out.print()


def _told(finding: Finding, reduced: bool) -> Text:
    """Return a statement, what was found and what must be found, and what there is to say of it."""
    lines = [finding.statement]
    if finding.mean is not None:
        found = f"found{', reduced' if reduced else ''}: {interval(finding)}; must be {expected(finding)}; {finding.seeds} seeds"
        lines.append(found)
    if finding.reason not in SELF_EVIDENT.values():
        lines.append(finding.reason)
    told = Text(escaping.terminal(lines[0]))
    for more in lines[1:]:
        told.append(f"\n{escaping.terminal(more)}", style="dim")
    return told


def dry_run(trials: Sequence[Trial], results: Path, as_json: bool) -> None:
    """Print each claim, and its runs with whether they are recorded."""
    if as_json:
        write_json([_planned(each, results) for each in trials])
        return
    for each in trials:
        line(f"{each.name}: {each.claim.title}" + (f" ({each.obstacle})" if each.obstacle else ""))
        for run in _planned(each, results)["runs"]:
            missing = run["seeds"] - run["recorded"]
            left = "recorded" if not missing else f"{missing} to run"
            line(f"  {run['run']}: {run['model']} on {run['stream']}, {run['seeds']} seeds, {left}")


def _planned(each: Trial, results: Path) -> dict[str, Any]:
    runs = [
        {
            "run": name,
            "model": plan.model,
            "stream": plan.stream_name,
            "seeds": len(plan.seeds),
            "recorded": len(plan.seeds) - len(to_run(plan, results)),
        }
        for name, plan in each.plans.items()
    ]
    return {"claim": each.name, "title": each.claim.title, "obstacle": each.obstacle or None, "runs": runs}


def written(path: Path) -> None:
    """Say where the page is."""
    note(f"page written: {path}")


def _path(plan: Plan) -> str:
    return f"{plan.model}.{plan.stream_name}.{plan.fingerprint}"
