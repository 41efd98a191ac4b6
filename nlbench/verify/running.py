"""From claims to verdicts: a sweep runs what is not recorded; a claim is judged when the last of its runs has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from nlbench import plan as plans
from nlbench.comparison import learned, statistics
from nlbench.comparison.chance import WORDS
from nlbench.comparison.statistics import Interval
from nlbench.errors import DataError, NlbenchError, RecordError, SpecError
from nlbench.metrics import METRICS, OF_FORGETTING
from nlbench.plan import Machine, Plan
from nlbench.records import Record, read_record
from nlbench.records.storage import storage
from nlbench.sources.downloads import downloaded_once
from nlbench.sweep import Budget, Cell, Engine, Outcome, sweep
from nlbench.sweep.grid import as_toml
from nlbench.sweep.running import UNBOUNDED, Began, nobody
from nlbench.verify.claims import Claim
from nlbench.verify.judging import judge
from nlbench.verify.model import Finding, Verdict
from nlbench.verify.statements import Statement, Value
from nlbench.verify.words import worded


@dataclass(frozen=True, eq=False)
class Trial:
    """A claim and the plans that try it, or why it cannot be tried; the command that does, and the file if it is one's own."""

    name: str
    claim: Claim
    reduced: bool
    plans: Mapping[str, Plan]
    command: str
    obstacle: str = ""
    file: str = ""


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
    """A claim with the verdict on it, a finding for each of its statements, what was measured, and what judges it again."""

    name: str
    claim: Claim
    reduced: bool
    findings: tuple[Finding, ...]
    cells: Mapping[str, Measured]
    command: str

    @cached_property
    def verdict(self) -> Verdict:
        """It holds if each statement does, and does not if one does not. A reduced form makes no statement about a number."""
        pairs = zip(self.claim.holds, self.findings, strict=True)
        found = {finding.verdict for statement, finding in pairs if not (self.reduced and isinstance(statement, Value))}
        for verdict in ("does not hold", "undecided", "not comparable", "holds"):
            if verdict in found:
                return verdict
        return "not comparable"


def exit_status(judged: Iterable[Judged]) -> int:
    """Return 1 if a claim does not hold, else 2 if one could not be told or none was judged, else 0."""
    found = {each.verdict for each in judged}
    return 1 if "does not hold" in found else 0 if found == {"holds"} else 2


def trial(name: str, claim: Claim, *, reduced: bool, seeds: int | None = None, file: str = "") -> Trial:
    """Return a claim with its plans: the paper's, or those of its reduced form. `seeds` replaces how many it asks for; `file` is
    where it was read from, if it is one's own.

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
        raise SpecError([f"{file or name}: {line}" for line in wrong])
    command = f"nlbench verify {quote(file or name)}{' --quick' * reduced}{f' --seeds {seeds}' if seeds else ''}"
    obstacle = "" if reduced in forms else "it has no reduced form: leave out --quick"
    return Trial(name, claim, reduced, forms.get(reduced, {}), command, obstacle, file)


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
    for number, statement in enumerate(claim.holds):
        for one, other in combinations(statement.cells, 2):
            if found[one].fingerprint == found[other].fingerprint:
                form = " in the reduced form" if reduced else ""
                raise SpecError([f"holds.{number}: {one} and {other} are the same run{form}. Compare two that differ."])
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
    trials: Sequence[Trial],
    results: Path,
    engine: Engine,
    machine: Machine,
    *,
    budget: Budget = UNBOUNDED,
    began: Began = nobody,
) -> Iterator[Outcome | Judged]:
    """Yield every outcome of the runs as they end, and after its last one each claim's verdict.

    `began` is told each run that begins.
    A run that several claims ask for is run once. Claims that cannot be tried, as where their data cannot be had, are judged
    first, as not comparable. Raises `InterruptedRunError` as a sweep does: the same call goes on.
    """
    waiting = []
    for each in _supplied(trials, results, machine.data):
        if each.obstacle:
            yield _unjudged(each, each.obstacle)
        else:
            waiting.append((each, {plan.record_path(results) for plan in each.plans.values()}))
    ended: dict[Path, Outcome] = {}
    asked = [plan for each, _ in waiting for plan in each.plans.values()]
    for outcome in sweep(_largest(asked, results), results, engine, machine, budget=budget, began=began):
        yield outcome
        ended[outcome.plan.record_path(results)] = outcome
        ready = [each for each, paths in waiting if paths <= ended.keys()]
        waiting = [(each, paths) for each, paths in waiting if not paths <= ended.keys()]
        for each in ready:
            yield judged(each, results, ended)


def _supplied(trials: Iterable[Trial], results: Path, data: Path | None) -> Iterator[Trial]:
    """Yield the claims, those with an obstacle that have runs to make and no data for them. Each data set is fetched once."""
    lacking: dict[str, str] = {}

    def lack(plan: Plan) -> str:
        source = plan.declared.source
        if source is None or not source.files or source.locate(data) or not to_run(plan, results):
            return ""
        if source.name not in lacking:
            try:
                source.fetch(data)
                lacking[source.name] = ""
            except DataError as error:
                lacking[source.name] = str(error)
        return lacking[source.name]

    with downloaded_once():
        for each in trials:
            why = next((f"{cell} has no data: {said}" for cell, plan in each.plans.items() if (said := lack(plan))), "")
            yield replace(each, obstacle=why) if why and not each.obstacle else each


def to_run(plan: Plan, results: Path) -> tuple[int, ...]:
    """Return the seeds of a plan that are neither recorded nor known to diverge; none where its record cannot be read."""
    try:
        return Cell.of(plan, results).missing
    except RecordError:
        return ()


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
        unfinished = outcome.state in ("failed", "left", "interrupted") and to_run(plan, results)
        if unfinished or not storage(path).exists(path):
            not_run = "the budget was spent before it" if outcome.state == "left" else f"it was {outcome.state}"
            why = outcome.error or ("every seed diverged" if outcome.diverged else not_run)
            return _unjudged(each, f"{cell} has no record: {why}")
        try:
            records[cell] = read_record(path)
        except RecordError as error:
            return _unjudged(each, f"{cell} has no record: {error}")
        if records[cell].fingerprint != plan.fingerprint:
            return _unjudged(each, f"{path.name} is no record of {cell} but of run {records[cell].fingerprint}: move it away")
    tests = sum(not (each.reduced and isinstance(statement, Value)) for statement in each.claim.holds)
    findings = tuple(_finding(statement, each, records, tests) for statement in each.claim.holds)
    return Judged(each.name, each.claim, each.reduced, findings, _measured(each, records), each.command)


def _finding(statement: Statement, each: Trial, records: Mapping[str, Record], tests: int) -> Finding:
    if each.reduced and isinstance(statement, Value):
        return _not_comparable(statement, "a reduced form claims no published number")
    guessing = [cell for cell in statement.cells if learned(records[cell]) in WORDS]
    of_forgetting = statement.metric in OF_FORGETTING
    if guessing and (of_forgetting or 1 < len(guessing) == len(statement.cells)):
        are = "are" if len(guessing) > 1 else "is"
        why = f"{' and '.join(guessing)} {are} not shown to have learned: no learning accuracy above chance"
        return _not_comparable(statement, f"{why}{', and nothing to forget' * of_forgetting}")
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
    findings = tuple(_not_comparable(one, why) for one in each.claim.holds)
    return Judged(each.name, each.claim, each.reduced, findings, {}, each.command)


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
                values[metric] = statistics.mean_interval(np.array(known), within=METRICS[metric].range)
        found[cell] = Measured(record.model, record.stream, record.path.name, record.seconds().get("train"), values)
    return found
