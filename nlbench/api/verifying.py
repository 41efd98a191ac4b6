"""Claims on trial: what is claimed, the runs that try it, and a verdict on each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Unpack

from nlbench.api.running import options
from nlbench.api.sweeping import EngineName
from nlbench.api.sweeping import engine as engine_of
from nlbench.plan import MachineOptions
from nlbench.sweep import Budget, Engine, Outcome
from nlbench.sweep.running import UNBOUNDED
from nlbench.verify import Judged, Trial, exit_status, read_claims, trial
from nlbench.verify import verify as try_all
from nlbench.verify.page import write_page

RESULTS: Final = Path("results") / "verify"

__all__ = ["exit_status", "trials", "verify", "write_page"]


def trials(names: Sequence[str] = (), *, quick: bool = False, seeds: int | None = None) -> list[Trial]:
    """Return the claims of these names or files, all by default, each with the plans that try it.

    quick  the reduced form of each: small streams, of which only orders are judged
    seeds  how many, in place of what each claim asks for
    """
    return [trial(name, claim, reduced=quick, seeds=seeds) for name, claim in read_claims(names)]


def verify(
    names: Sequence[str] | Sequence[Trial] = (),
    results: str | Path = RESULTS,
    *,
    quick: bool = False,
    engine: Engine | EngineName = "local",
    budget: Budget = UNBOUNDED,
    **machine: Unpack[MachineOptions],
) -> Iterator[Outcome | Judged]:
    """Yield every outcome of the runs as they end and, after its last one, each claim's verdict.

    names    of claims or their files, all by default; or what `trials` returned
    results  where runs are recorded; what is there is not run again
    machine  device, backend, data, …: as in `nlbench.run`
    Raises `InterruptedRunError` when a signal came; the same call goes on.

        for event in nlbench.api.verify(["penalties-class-incremental"], quick=True): ...
    """
    chosen = [one for one in names if isinstance(one, Trial)]
    if not chosen:
        chosen = trials([name for name in names if isinstance(name, str)], quick=quick)
    if isinstance(engine, str):
        engine = engine_of(engine, threads=machine.get("threads"), device=machine.get("device", "auto"))
    yield from try_all(chosen, Path(results), engine, options(**machine), budget=budget)
