"""A search of a recipe's values, on data that no test set is part of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from nlbench.api.running import Run, known_keywords, options, resolve, run
from nlbench.api.sweeping import EngineName
from nlbench.api.sweeping import engine as engine_of
from nlbench.errors import NlbenchError
from nlbench.launching import running_half
from nlbench.plan import DeclaredStream, RunOptions
from nlbench.sweep import Engine
from nlbench.sweep.grid import as_toml

if TYPE_CHECKING:
    from nlbench.tune import Range, Search, Trial


class SearchOptions(RunOptions, total=False):
    """How a search goes about it.

    sampler  grid: the whole grid if it fits the budget, otherwise a fixed random part of it; random; tpe: Optuna's (extra `tune`)
    engine   a name, or what `nlbench.api.engine` returned, which is closed at the end
    trials   a file with a line for every trial that ended: what stands there is not tried again
    seconds  after which no more candidates begin
    """

    sampler: str
    engine: Engine | EngineName
    trials: str | Path | None
    seconds: float | None


def searched(text: str) -> Sequence[str] | Range:
    """Return what is searched of a key as `tune` takes it: `0.1,0.3` lists values, `16..256` and `log:0.001..0.3` are ranges."""
    running_half()
    from nlbench.tune import parsed

    return parsed(text)


def tune(
    model: object,
    stream: str | DeclaredStream,
    space: Mapping[str, Sequence[str] | Range],
    *,
    budget: int = 32,
    tasks: int = 3,
    objective: str = "average_accuracy",
    overrides: Mapping[str, str] | None = None,
    listen: Callable[[Trial], None] | None = None,
    **chosen: Unpack[SearchOptions],
) -> Search:
    """Return the search of a recipe's values: candidates learn the first tasks from 80 % of their training sets in order, and are
    judged on the rest by the mean of the objective over the seeds 100 to 102. No test set is read.

    space      override keys, each with candidate values, such as {"learner.rate": ["0.03", "0.1"]}, or a `nlbench.tune.Range`
    budget     most candidates to try
    listen     called with every trial as it ends
    chosen     sampler, engine (here by default: this process), trials, seconds: see `SearchOptions`; precision and facts of the
               machine: as in `nlbench.run`
    Raises `NlbenchError` kinds for what the user can mend, `InterruptedRunError` when a signal came.
    """
    known_keywords(tune, SearchOptions, chosen)
    running_half()
    from nlbench import tune as search

    machine = options(
        device=chosen.get("device", "auto"),
        backend=chosen.get("backend", "auto"),
        data=chosen.get("data"),
        threads=chosen.get("threads"),
    )

    def asked(values: Mapping[str, str]) -> search.Question:
        plan = resolve(
            model,
            stream,
            seeds=search.TUNING_SEEDS,
            overrides={**(overrides or {}), **values},
            precision=chosen.get("precision", "float32"),
        )
        return search.Question(plan, dict(values), tasks, objective, machine)

    search.check(asked({}).plan, space, tasks, objective)
    sampler = chosen.get("sampler", "grid")
    engine = chosen.get("engine", "here")
    runs_on = engine_of(engine, threads=machine.threads, device=machine.device) if isinstance(engine, str) else engine
    kept = search.Trials(None if (path := chosen.get("trials")) is None else Path(path))
    found = []
    for trial in search.tune(
        asked,
        search.sampler_of(sampler, space, budget),
        runs_on,
        budget=budget,
        trials=kept,
        seconds=chosen.get("seconds"),
    ):
        found.append(trial)
        if listen is not None:
            listen(trial)
    return search.finish(asked({}).plan, space, budget, tasks, objective, found, sampler=sampler)


def check_scenarios(model: str, stream: str, then: str, overrides: Mapping[str, str] | None = None) -> None:
    """Raise `NlbenchError` unless two streams are of one scenario, as what is searched on one and run on the other must be."""
    first, other = (resolve(model, name, seeds=1, overrides=overrides).stream.stream.scenario for name in (stream, then))
    if first != other:
        raise NlbenchError(f"{stream} is {first} and {then} is {other}.", "Choose a stream of the same scenario.")


def carry_over(
    found: Search,
    model: str,
    stream: str,
    then: str,
    *,
    overrides: Mapping[str, str] | None = None,
    results: str | Path = "results",
    **machine: Unpack[RunOptions],
) -> Run:
    """Return the run of a search's winner on another stream, which had no part in the search: what is left of it on data that it
    was not made on (GTEP, Cha & Cho 2024, arXiv 2403.09066). Nothing of it is the recipe's for that stream: it has the winner's
    batch and every value of its learner, but for a network of another kind, as other samples ask for.

    found    what `tune` returned for this model and stream
    Raises `NlbenchError` where every candidate diverged.
    """
    best = found.trials[0] if found.trials else None
    if best is None or best.score is None:
        raise NlbenchError("no candidate is left to run.", "Widen the space towards smaller rates.")
    asked = {**(overrides or {}), **best.values}
    winner, there = (resolve(model, name, seeds=1, overrides=asked).describe() for name in (stream, then))
    return run(model, then, overrides={**_carried(winner, there), **asked}, results=results, **machine)


def _carried(winner: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, str]:
    """Return what must be overridden there for a run to be the winner's in its learner and batch, of what both plans describe."""
    own, other = (said["learner_spec"]["learner"] for said in (winner, there))
    values = {f"learner.{key}": _given(value) for key, value in own.items() if value is not None and value != other.get(key)}
    if own.get("network", {}).get("kind") != other.get("network", {}).get("kind"):
        values.pop("learner.network", None)
    if winner["terms"]["batch"] != there["terms"]["batch"]:
        values["protocol.batch"] = winner["terms"]["batch"]
    return {key: as_toml(value) for key, value in values.items()}


def _given(value: Any) -> Any:
    """Return a value without what is not set in its tables, of which TOML has no word."""
    return {key: _given(one) for key, one in value.items() if one is not None} if isinstance(value, Mapping) else value
