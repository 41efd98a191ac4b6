"""Kill runs at random moments, start them again, and compare what they record with runs that were left alone.

    python tools/kill_runs.py 200

Every shipped learner on split-digits, three whose first layer stands in pixel orders of its own on permuted-digits, and six
learners as users write them (tests/runner/kept/learners.py), each with another kind of state. A run is killed (SIGKILL) several
times before it may end. Prints a line a learner, and exits with 1 where a run was lost, a checkpoint could not be read, or a
value differs in one bit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import nlbench
from nlbench import catalog
from nlbench.errors import NlbenchError
from nlbench.plan import Plan
from nlbench.records import Row
from nlbench.runner import Checkpoint
from nlbench.specs import read_table

USERS = Path(__file__).parents[1] / "tests" / "runner" / "kept" / "learners.py"
EXTERNAL = ("Pairs", "Means", "Buffered", "Scheduled", "Growing", "Reservoir")
PERMUTED = ("mlp", "cms", "hope")
SEEDS = 2
OVERRIDES = {"protocol.passes": "2", "protocol.boundaries": "true"}
IN_ONE_RUN = 3
"""Kills after which a run may end."""
EVERY = 0.05
"""Seconds between checkpoints within a task."""


def cases() -> list[tuple[str, str]]:
    """Return the pairs of learner and stream."""
    kinds = {name: read_table(catalog.find("model", name))["learner"]["kind"] for name in catalog.names("model")}
    streams = {True: "split-digits-task-il", False: "split-digits"}
    shipped = [(name, streams["task" in catalog.needs(kind)]) for name, kind in kinds.items()]
    users = [(f"{USERS}:{name}", "split-digits") for name in EXTERNAL]
    return [*shipped, *((name, "permuted-digits") for name in PERMUTED), *users]


def run(model: str, stream: str, results: Path, began: Event) -> None:
    """One run, in a process of its own, which says when it has measured something."""
    options = {"device": "cpu", "checkpoint_every": EVERY}
    nlbench.run(model, stream, seeds=SEEDS, results=results, overrides=OVERRIDES, listen=lambda row: began.set(), **options)


def started(context: BaseContext, model: str, stream: str, results: Path) -> BaseProcess:
    """Return the process of a run that has measured its first values, or that has ended."""
    began = context.Event()
    process = context.Process(target=run, args=(model, stream, results, began))  # type: ignore[attr-defined]
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


def killed(context: BaseContext, model: str, stream: str, kills: int, draw: random.Random) -> Counter[str]:
    """Return what was counted while one learner was killed so many times."""
    found: Counter[str] = Counter()
    plan = nlbench.resolve(model, stream, seeds=SEEDS, overrides=OVERRIDES)
    with tempfile.TemporaryDirectory() as folder:
        for whole in (Path(folder) / "compiled", Path(folder) / "whole"):
            process = started(context, model, stream, whole)
            clock = time.perf_counter()
            process.join()
            seconds = time.perf_counter() - clock
        expected = rows(whole)
        while found["kills"] < kills and found["runs"] < 3 * kills:
            results, left = Path(folder) / f"run{found['runs']}", min(kills - found["kills"], IN_ONE_RUN)
            process = started(context, model, stream, results)
            while left:
                process.join(draw.uniform(0.0, seconds))
                if process.exitcode is not None:
                    break
                process.kill()
                process.join()
                found["kills"] += 1
                found[state(plan, results)] += 1
                left -= 1
                process = started(context, model, stream, results)
            process.join()
            ended = process.exitcode == 0 and len(list(results.glob("*.parquet"))) == 1
            found["lost"] += not ended
            found["differ"] += ended and rows(results) != expected
            found["runs"] += 1
    return found


def state(plan: Plan, results: Path) -> str:
    """Return what a killed run left: a checkpoint within a task or at a boundary, none, one that cannot be read."""
    try:
        saved = Checkpoint.of(plan, results).load()
    except NlbenchError:
        return "unreadable"
    if saved is None:
        return "recorded" if list(results.glob("*.parquet")) else "nothing yet"
    return "boundary" if saved.progress.position[1:] == (0, 0) else "within"


def main() -> int:
    """Kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int, nargs="?", default=200)
    parser.add_argument("--only", nargs="*", default=(), help="learners, by name")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chosen = [case for case in cases() if not arguments.only or case[0].rpartition(":")[2] in arguments.only]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nlbench.runner", "numba"])
    draw, total = random.Random(arguments.seed), Counter[str]()
    for number, (model, stream) in enumerate(chosen):
        share = arguments.kills * (number + 1) // len(chosen) - arguments.kills * number // len(chosen)
        found = killed(context, model, stream, share, draw) if share else Counter()
        total += found
        sys.stdout.write(f"{model.rpartition(':')[2]:>16} {stream:>16}  {dict(found)}\n")
        sys.stdout.flush()
    bad = {name: total[name] for name in ("lost", "unreadable", "differ")}
    sys.stdout.write(f"{ {**{name: count for name, count in total.items() if name not in bad}, **bad} }\n")
    return any(bad.values())


if __name__ == "__main__":
    raise SystemExit(main())
