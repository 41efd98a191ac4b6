"""Kill runs at random moments, start them again, and compare what they record with runs that were left alone.

    python tools/kill_runs.py 200 --processes 12

Seven learners as users write them (tests/runner/kept/learners.py), each with another kind of state, three whose first layer
stands in pixel orders of its own on permuted-digits, and every shipped learner on split-digits; where there are fewer kills than
learners, the first have one each. A run is killed (SIGKILL) several times before it may end. Prints a line a learner, with the
seconds since its last checkpoint when it was killed, at most, and exits with 1 where a run was lost, a checkpoint could not be
read, a value differs in one bit, or a learner kept no checkpoints.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

os.environ["NUMBA_THREADING_LAYER"] = "workqueue"  # OpenMP's threads do not outlive a fork

import nlbench
from nlbench import catalog
from nlbench.errors import NlbenchError
from nlbench.plan import Plan
from nlbench.records import Row
from nlbench.runner import Checkpoint
from nlbench.specs import read_table

USERS = Path(__file__).parents[1] / "tests" / "runner" / "kept" / "learners.py"
EXTERNAL = ("Pairs", "Means", "Buffered", "Scheduled", "Growing", "Reservoir", "Odd")
PERMUTED = ("mlp", "cms", "hope")
SEEDS = 2
PASSES = 2, 200
"""At least and at most; more where a run would be over before it is saved within its tasks."""
IN_ONE_RUN = 3
"""Kills after which a run may end."""
MOST_RUNS = 10
"""For each kill: a run may be over before its moment, and then another is begun."""
EVERY = 0.05
"""Seconds between checkpoints within a task."""
MEASURED = 400
"""Samples between measurements within a task: kills are to fall into training."""
FORKED = multiprocessing.get_context("fork")


def cases() -> list[Case]:
    """Return every learner on its stream."""
    kinds = {name: read_table(catalog.find("model", name))["learner"]["kind"] for name in catalog.names("model")}
    streams = {True: "split-digits-task-il", False: "split-digits"}
    shipped = [Case(name, streams["task" in catalog.needs(kind)]) for name, kind in kinds.items()]
    users = [Case(f"{USERS}:{name}", "split-digits") for name in EXTERNAL]
    return [*users, *(Case(name, "permuted-digits") for name in PERMUTED), *shipped]


class Case(NamedTuple):
    """A learner, a stream, and how often its tasks are shown."""

    model: str
    stream: str
    passes: int = PASSES[0]

    @property
    def overrides(self) -> dict[str, str]:
        """What its declarations are changed by."""
        return {"protocol.passes": str(self.passes), "protocol.boundaries": "true", "protocol.evaluate_every": str(MEASURED)}

    @property
    def plan(self) -> Plan:
        """What is run."""
        return nlbench.resolve(self.model, self.stream, seeds=SEEDS, overrides=self.overrides)


def run(case: Case, results: Path, began: Event | None = None) -> None:
    """One run, which says when it has measured something."""
    nlbench.run(
        case.model,
        case.stream,
        seeds=SEEDS,
        results=results,
        overrides=case.overrides,
        listen=None if began is None else lambda row: began.set(),
        device="cpu",
        threads=1,
        checkpoint_every=EVERY,
    )


def started(case: Case, results: Path) -> BaseProcess:
    """Return the process of a run that has measured its first values, or that has ended.

    It is forked from one that has made such a run: what is imported, read and compiled at first is there, so that kills fall
    into what a run does.
    """
    began = FORKED.Event()
    process = FORKED.Process(target=run, args=(case, results, began))
    process.start()
    while not began.wait(0.01) and process.exitcode is None:
        pass
    return process


def rows(results: Path) -> list[Row]:
    """Return all that a record must have in common with another of its run."""
    (record,) = nlbench.load(results)
    table = record.to_pandas()[list(Row._fields)]
    table = table[~table["metric"].str.startswith("seconds.")]
    return sorted((Row(*row) for row in table.astype(object).where(table.notna(), None).itertuples(index=False)), key=str)


def undisturbed(case: Case, results: Path) -> float:
    """Run a case to its end in this process; return its seconds."""
    clock = time.perf_counter()
    run(case, results)
    return time.perf_counter() - clock


def killed(case: Case, kills: int, least: float, draw: random.Random) -> tuple[Counter[str], float]:
    """Return what was counted while one learner was killed so many times, and the most seconds of work that a kill cost."""
    found: Counter[str] = Counter()
    longest = 0.0
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        for short in (folder / "compiled", folder / "short"):
            undisturbed(case, short)
        (record,) = nlbench.load(short)
        fewest, most = PASSES
        case = case._replace(passes=min(most, max(fewest, round(fewest * least / record.seconds()["train"]))))
        seconds = undisturbed(case, folder / "whole")
        (record,) = nlbench.load(folder / "whole")
        found["unkept"] += any(execution.not_kept for execution in record.runs)
        expected, plan = rows(folder / "whole"), case.plan
        while found["kills"] < kills and found["runs"] < MOST_RUNS * kills:
            results, left = folder / f"run{found['runs']}", min(kills - found["kills"], IN_ONE_RUN)
            process = started(case, results)
            while left:
                began = time.time()
                process.join(draw.uniform(0.0, seconds))
                if process.exitcode is not None:
                    break
                process.kill()
                process.join()
                left_behind = state(plan, results)
                if left_behind != "recorded":
                    longest = max(longest, time.time() - max(began, saved_at(plan, results)))
                found["kills"] += 1
                found[left_behind] += 1
                left -= 1
                process = started(case, results)
            process.join()
            ended = process.exitcode == 0 and len(list(results.glob("*.parquet"))) == 1
            found["lost"] += not ended
            found["differ"] += ended and rows(results) != expected
            found["runs"] += 1
    return found, longest


def saved_at(plan: Plan, results: Path) -> float:
    """Return when a run's checkpoint was written; 0 where there is none."""
    path = Checkpoint.of(plan, results).path
    return path.stat().st_mtime if path.exists() else 0.0


def state(plan: Plan, results: Path) -> str:
    """Return what a killed run left: a checkpoint within a task or at a boundary, none, one that cannot be read."""
    try:
        saved = Checkpoint.of(plan, results).load()
    except NlbenchError:
        return "unreadable"
    if saved is None:
        return "recorded" if list(results.glob("*.parquet")) else "nothing yet"
    return "boundary" if saved.progress.position[1:] == (0, 0) else "within"


def outcome(case: Case, kills: int, least: float, seed: str) -> tuple[Counter[str], float]:
    """Kill one learner's runs, and print what was found."""
    found, longest = killed(case, kills, least, random.Random(seed))
    sys.stdout.write(f"{case.model.rpartition(':')[2]:>18} {case.stream:>20} {longest:6.2f} s  {dict(found)}\n")
    sys.stdout.flush()
    return found, longest


def main() -> int:
    """Kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int, nargs="?", default=200)
    parser.add_argument("--only", nargs="*", default=(), help="learners, by name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.5, help="that a run trains, by more passes")
    parser.add_argument("--processes", type=int, default=1, help="learners that are run at once")
    arguments = parser.parse_args()
    chosen = [case for case in cases() if not arguments.only or case.model.rpartition(":")[2] in arguments.only]
    each, more = divmod(arguments.kills, len(chosen))
    shares = [each + (number < more) for number in range(len(chosen))]
    asked = [
        (case, share, arguments.seconds, f"{arguments.seed} {number}")
        for number, (case, share) in enumerate(zip(chosen, shares, strict=True))
        if share
    ]
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        outcomes = list(pool.map(outcome, *zip(*asked, strict=True)))
    total: Counter[str] = sum((found for found, _ in outcomes), Counter())
    bad = {name: total[name] for name in ("lost", "unreadable", "differ", "unkept")}
    longest = max(seconds for _, seconds in outcomes)
    sys.stdout.write(f"{len(outcomes)} learners, {longest:.2f} s of work lost at most, {dict(total)}, {bad}\n")
    return any(bad.values())


if __name__ == "__main__":
    raise SystemExit(main())
