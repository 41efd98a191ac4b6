"""From claims to verdicts: a sweep runs what is not recorded; a claim is judged when the last of its runs has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nlbench import catalog
from nlbench import plan as plans
from nlbench.comparison import learned, statistics
from nlbench.comparison.chance import WORDS
from nlbench.comparison.statistics import Interval
from nlbench.errors import NlbenchError, SpecError
from nlbench.plan import Machine, Plan
from nlbench.records import Record, read_record
from nlbench.sweep import Budget, Engine, Outcome, sweep
from nlbench.sweep.grid import as_toml
from nlbench.sweep.running import UNBOUNDED
from nlbench.verify.claims import Claim, Statement, Value
from nlbench.verify.judging import judge
from nlbench.verify.model import Finding, Verdict
from nlbench.verify.words import worded


@dataclass(frozen=True, eq=False)
class Trial:
    """A claim and the plans that try it; where one cannot be made, why."""

    name: str
    claim: Claim
    reduced: bool
    plans: Mapping[str, Plan]
    obstacle: str = ""


@dataclass(frozen=True)
class Measured:
    """One run of a claim: its recipe and stream, and each metric that is asked of it, over its seeds.

    record   the name of its record's file
    seconds  of training, all seeds together, wherever it was run; None where that is not recorded
    """

    model: str
    stream: str
    record: str
    seconds: float | None
    values: Mapping[str, Interval]


@dataclass(frozen=True)
class Judged:
    """A claim with the verdict on it, a finding for each of its statements, and what was measured."""

    name: str
    claim: Claim
    reduced: bool
    findings: tuple[Finding, ...]
    cells: Mapping[str, Measured]

    @cached_property
    def verdict(self) -> Verdict:
        """It holds if each statement does, and does not if one does not. A reduced form makes no statement about a number."""
        pairs = zip(self.claim.holds, self.findings, strict=True)
        found = {finding.verdict for statement, finding in pairs if not (self.reduced and isinstance(statement, Value))}
        for verdict in ("does not hold", "undecided", "not comparable", "holds"):
            if verdict in found:
                return verdict
        return "not comparable"

    @property
    def command(self) -> str:
        """What judges it again; of a claim of one's own, where its file lies."""
        name = self.name if self.name in catalog.names("claim") else f"./{self.name}.toml"
        return f"nlbench verify {name}{' --quick' if self.reduced else ''}"


def exit_status(judged: Iterable[Judged]) -> int:
    """Return 1 if a claim does not hold, else 2 if one could not be told or none was judged, else 0."""
    found = {each.verdict for each in judged}
    return 1 if "does not hold" in found else 0 if found == {"holds"} else 2


def trial(name: str, claim: Claim, *, reduced: bool, seeds: int | None = None) -> Trial:
    """Return a claim with its plans: the paper's, or those of its reduced form. `seeds` replaces how many it asks for.

    Raises `SpecError` with every name and value of either form that no run can have.
    """
    forms: dict[bool, Mapping[str, Plan]] = {}
    wrong: dict[str, None] = {}
    for form in (False, True) if claim.quick is not None else (False,):
        count = seeds or (form and claim.quick and claim.quick.seeds) or claim.seeds
        try:
            forms[form] = _plans(claim, tuple(range(count)), reduced=form)
        except SpecError as error:
            wrong |= dict.fromkeys(error.problems)
    if wrong:
        raise SpecError([f"{name}.toml: {line}" for line in wrong])
    if reduced not in forms:
        return Trial(name, claim, reduced, {}, "it has no reduced form: leave out --quick")
    return Trial(name, claim, reduced, forms[reduced])


def _plans(claim: Claim, seeds: tuple[int, ...], *, reduced: bool) -> dict[str, Plan]:
    """Return the plan of each cell of a claim. Raises `SpecError` with what is wrong, in the table of the claim that says it."""
    found: dict[str, Plan] = {}
    wrong: dict[str, list[str]] = {}
    for cell, runs in claim.cells.items():
        stream = runs.stream
        said: dict[str, tuple[str, str]] = {}
        tables = {"set": claim.set, f"cells.{cell}.set": runs.set}
        if reduced and claim.quick is not None:
            stream = claim.quick.streams.get(stream, stream)
            tables |= {"quick.set": claim.quick.set, f"quick.cells.{cell}": claim.quick.cells.get(cell, {})}
        for table, values in tables.items():
            said |= {key: (table, as_toml(value)) for key, value in _flat(values).items()}
        overrides = {key: value for key, (_, value) in said.items()}
        try:
            found[cell] = plans.resolve(runs.model, stream, seeds=seeds, overrides=overrides)
        except NlbenchError as error:
            for problem in error.problems if isinstance(error, SpecError) else [str(error)]:
                where = _where(problem, {key: table for key, (table, _) in said.items()}) or f"cells.{cell}: {problem}"
                wrong.setdefault(where, []).append(cell)
    if wrong:
        raise SpecError([f"{line}{_of(cells, line, claim)}" for line, cells in wrong.items()])
    return found


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return values by their dotted keys, as a file may write them either way; a table with a kind is one value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, Mapping) and value and "kind" not in value
        found |= _flat(value, f"{before}{key}.") if nested else {f"{before}{key}": value}
    return found


def _where(problem: str, tables: Mapping[str, str]) -> str:
    """Return a problem of a value with the table that says it in place of `--set`; empty where it is of none of these."""
    told = problem.removeprefix("--set ")
    key = told.partition(":")[0]
    table = next((table for said, table in tables.items() if f"{said}.".startswith(f"{key}.")), None)
    return f"{table}.{told}" if told != problem and table is not None else ""


def _of(cells: Sequence[str], line: str, claim: Claim) -> str:
    """Return of which cells a value that several may have is wrong, where it is not of all."""
    told = len(cells) == len(claim.cells) or f"cells.{cells[0]}" in line
    return "" if told else f" (of {', '.join(cells)})"


def verify(
    trials: Sequence[Trial], results: Path, engine: Engine, machine: Machine, *, budget: Budget = UNBOUNDED
) -> Iterator[Outcome | Judged]:
    """Yield every outcome of the runs as they end, and after its last one each claim's verdict.

    A run that several claims ask for is run once. Claims that cannot be tried are judged first, as not comparable. Raises
    `InterruptedRunError` as a sweep does: the same call goes on.
    """
    waiting = []
    for each in trials:
        if each.obstacle:
            yield _unjudged(each, each.obstacle)
        else:
            waiting.append((each, {plan.record_path(results) for plan in each.plans.values()}))
    ended: dict[Path, Outcome] = {}
    asked = [plan for each, _ in waiting for plan in each.plans.values()]
    for outcome in sweep(_largest(asked, results), results, engine, machine, budget=budget):
        yield outcome
        ended[outcome.plan.record_path(results)] = outcome
        ready = [each for each, paths in waiting if paths <= ended.keys()]
        waiting = [(each, paths) for each, paths in waiting if not paths <= ended.keys()]
        for each in ready:
            yield judged(each, results, ended)


def _largest(asked: Iterable[Plan], results: Path) -> list[Plan]:
    """Return each run once, with the most seeds that any claim asks of it."""
    found: dict[Path, Plan] = {}
    for plan in asked:
        path = plan.record_path(results)
        if path not in found or len(found[path].seeds) < len(plan.seeds):
            found[path] = plan
    return list(found.values())


def judged(each: Trial, results: Path, ended: Mapping[Path, Outcome]) -> Judged:
    """Return the verdict on a claim whose runs have ended, from their records."""
    records: dict[str, Record] = {}
    for cell, plan in each.plans.items():
        path = plan.record_path(results)
        outcome = ended[path]
        if outcome.state in ("failed", "left", "interrupted") or not path.exists():
            not_run = "the budget was spent before it" if outcome.state == "left" else f"it was {outcome.state}"
            why = outcome.error or ("every seed diverged" if outcome.diverged else not_run)
            return _unjudged(each, f"{cell} has no record: {why}")
        records[cell] = read_record(path)
        if records[cell].fingerprint != plan.fingerprint:
            return _unjudged(each, f"{path.name} is no record of {cell} but of run {records[cell].fingerprint}: move it away")
    tests = sum(not (each.reduced and isinstance(statement, Value)) for statement in each.claim.holds)
    findings = tuple(_finding(statement, each, records, tests) for statement in each.claim.holds)
    return Judged(each.name, each.claim, each.reduced, findings, _measured(each, records))


def _finding(statement: Statement, each: Trial, records: Mapping[str, Record], tests: int) -> Finding:
    if each.reduced and isinstance(statement, Value):
        return _not_comparable(statement, "a reduced form claims no published number")
    if len(statement.cells) > 1 and all(learned(records[cell]) in WORDS for cell in statement.cells):
        return _not_comparable(statement, f"{' and '.join(statement.cells)} learned nothing: no learning accuracy above chance")
    values = {}
    for cell in statement.cells:
        seeds = each.plans[cell].seeds
        found = {seed: value for seed, value in records[cell].metric(statement.metric).items() if seed in seeds}
        known = {seed: value for seed, value in found.items() if value is not None}
        if not known:
            why = records[cell].reason(statement.metric) if found else "no seed was recorded"
            return _not_comparable(statement, f"{statement.metric} of {cell} is null: {why}")
        values[cell] = known
    finding = judge(statement, values, tests)
    lacking = {cell: len(each.plans[cell].seeds) - len(values[cell]) for cell in statement.cells}
    if any(lacking.values()):
        lost = ", ".join(f"{count} seeds of {cell}" for cell, count in lacking.items() if count)
        finding = replace(finding, reason=f"{finding.reason}; {lost} diverged")
    return finding


def _not_comparable(statement: Statement, why: str) -> Finding:
    return Finding(worded(statement), "not comparable", why)


def _unjudged(each: Trial, why: str) -> Judged:
    return Judged(each.name, each.claim, each.reduced, tuple(_not_comparable(one, why) for one in each.claim.holds), {})


def _measured(each: Trial, records: Mapping[str, Record]) -> dict[str, Measured]:
    found = {}
    for cell, record in records.items():
        metrics = dict.fromkeys(statement.metric for statement in each.claim.holds if cell in statement.cells)
        values = {}
        for metric in metrics:
            known = [
                value for seed, value in record.metric(metric).items() if value is not None and seed in each.plans[cell].seeds
            ]
            if known:
                values[metric] = statistics.mean_interval(np.array(known))
        found[cell] = Measured(record.model, record.stream, record.path.name, record.seconds().get("train"), values)
    return found
