"""Claims on trial: what is claimed, the runs that try it, and a verdict on each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Final, Unpack

from nlbench.api import sweeping
from nlbench.api.running import options
from nlbench.api.sweeping import EngineName
from nlbench.errors import DataError, NlbenchError, SpecError
from nlbench.launching import running_half
from nlbench.places import place
from nlbench.plan import MachineOptions
from nlbench.sweep import Budget, Engine, Outcome
from nlbench.sweep.running import UNBOUNDED, Began, nobody
from nlbench.verify import Judged, Trial, exit_status, read_claims, trial
from nlbench.verify import verify as try_all
from nlbench.verify.page import refuse_suffix, write_page
from nlbench.verify.running import to_run

RESULTS: Final = Path("results") / "verify"

MEMORY: Final = 8.0
"""GiB of a GPU that is left to each run, by default; fourteen runs of the claims that come with nlbench fit into 139 together."""

__all__ = ["claim_engine", "exit_status", "prove", "refuse_suffix", "trials", "verify", "write_page"]


def trials(names: Sequence[str] = (), *, quick: bool = False, seeds: int | None = None) -> list[Trial]:
    """Return the claims of these names or files, all by default, each with the plans that try it.

    quick  the reduced form of each: small streams, of which only orders and slopes are judged
    seeds  how many, in place of what each claim asks for
    """
    files = [name if "/" in name or name.endswith(".toml") else "" for name in names] or repeat("")
    found = zip(read_claims(names), files, strict=False)
    return [trial(name, claim, reduced=quick, seeds=seeds, file=file) for (name, claim), file in found]


def claim_engine(
    name: EngineName = "local", *, workers: int | None = None, threads: int | None = None, device: str = "auto"
) -> Engine:
    """Return what runs claims, as `nlbench.api.sweep` has it; local workers share a GPU."""
    memory = MEMORY if name == "local" and sweeping.on_gpu(device) else None
    return sweeping.engine(name, workers=workers, threads=threads, memory=memory, device=device)


def prove(trials: Sequence[Trial], results: str | Path = RESULTS, **machine: Unpack[MachineOptions]) -> None:
    """Make the learner of every run of claims of one's own that is not recorded, and let go of it.

    Raises `SpecError` with what would stop those runs when they begin: a class that is not there, an option that nobody reads, a
    learner that needs what its stream does not tell. Where data cannot be had nothing is said: `verify` does.
    """
    folder, on = place(results), options(**machine)
    wrong, streams = [], {}
    for each in trials:
        for cell, plan in each.plans.items() if each.file else ():
            if seeds := to_run(plan, folder):
                half, one = running_half(), plan.of_seeds(seeds[:1])
                what = plan.declared.digest, seeds[0]
                try:
                    if what not in streams:
                        streams = {what: half.build_stream(one, on)}
                    half.build_learner(one, streams[what], on.backend)
                except DataError:
                    continue
                except NlbenchError as error:
                    wrong.append(f"{each.file}: cells.{cell}: {error}")
    if wrong:
        raise SpecError(wrong)


def verify(
    names: Sequence[str] | Sequence[Trial] = (),
    results: str | Path = RESULTS,
    *,
    quick: bool = False,
    engine: Engine | EngineName = "local",
    budget: Budget = UNBOUNDED,
    began: Began = nobody,
    **machine: Unpack[MachineOptions],
) -> Iterator[Outcome | Judged]:
    """Yield every outcome of the runs as they end and, after its last one, each claim's verdict.

    names    of claims or their files, all by default; or what `trials` returned
    results  where runs are recorded; what is there is not run again; here, or as s3://bucket/folder
    began    is told the plan of each run that begins
    machine  device, backend, data, …: as in `nlbench.run`
    Raises `InterruptedRunError` when a signal came; the same call goes on.

        for event in nlbench.api.verify(["penalties-class-incremental"], quick=True): ...
    """
    chosen = [one for one in names if isinstance(one, Trial)]
    if not chosen:
        chosen = trials([name for name in names if isinstance(name, str)], quick=quick)
    if isinstance(engine, str):
        engine = claim_engine(engine, threads=machine.get("threads"), device=machine.get("device", "auto"))
    prove(chosen, results, **machine)
    yield from try_all(chosen, place(results), engine, options(**machine), budget=budget, began=began)
