"""Many runs: a grid of plans, an engine that runs what is not recorded, outcomes as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Unpack

from nlbench.api.running import estimate, options, parse_seeds
from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.places import place
from nlbench.plan import Machine, MachineOptions, Plan
from nlbench.specs import listed, read_table, toml_value
from nlbench.sweep import Budget, Cell, Engine, Grid, Here, Needs, Outcome, Point, Policy, read_grid
from nlbench.sweep import sweep as carry_out
from nlbench.sweep.cells import OnDivergence
from nlbench.sweep.grid import Within, flat
from nlbench.sweep.running import UNBOUNDED

if TYPE_CHECKING:
    from nlbench.runner import Estimate

UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
ANY: Final = Within()
ENGINES: Final = ("local", "here", "ray")
EngineName = Literal["local", "here", "ray"]


def grid(place: str | Path | Mapping[str, Any]) -> Grid:
    """Return the grid that a TOML file declares, or a table of the same keys; `grid(…).points()` are its cells, each with a plan.

    Raises `SpecError` with every broken rule.
    """
    if isinstance(place, Mapping):
        return read_grid(place, "grid")
    return read_grid(read_table(Path(place)), str(place))


def grid_of(
    place: Path | None,
    models: str | None,
    streams: str | None,
    seeds: str | None,
    values: Mapping[str, str],
    precision: str | None,
) -> Grid:
    """Return the grid of a file, or of options; what both say, the options decide. `values` are those of `--set`, several with
    commas.
    """
    table: dict[str, Any] = dict(read_table(place)) if place is not None else {}
    if place is None and not (models and streams):
        raise NlbenchError("a sweep needs models and streams.", "Such as --model mlp,er --stream split-digits, or a grid.toml.")
    said = {"models": models and models.split(","), "streams": streams and streams.split(",")}
    chosen = {key: [name.strip() for name in names] for key, names in said.items() if names}
    left_out = [
        name for key, names in chosen.items() if isinstance(table.get(key), list) for name in table[key] if name not in names
    ]
    table |= chosen
    table |= {"seeds": list(parse_seeds(seeds))} if seeds else {}
    table |= {"precision": precision} if precision else {}
    if isinstance(facts := table.get("set", {}), Mapping):
        table["set"] = {**flat(facts), **{key: _alternatives(text) for key, text in values.items()}}
    if isinstance(on := table.get("on"), Mapping):
        due = {name: facts for name, facts in on.items() if name not in left_out}
        table["on"] = {name: _left(facts, values) if isinstance(facts, Mapping) else facts for name, facts in due.items()}
    return read_grid(table, "grid" if place is None else str(place))


def _left(facts: Mapping[str, Any], decided: Iterable[str]) -> dict[str, Any]:
    """Return the facts of one model or stream that no option decides, neither by their key nor by that of a table they are in."""
    own = flat(facts)
    return {key: value for key, value in own.items() if not any(f"{key}.".startswith(f"{each}.") for each in decided)}


def _alternatives(text: str) -> Any:
    """Return the value of an option, or the list of several; a list or a table is one of a list, as in a file."""
    found = [toml_value(one) for one in listed(text)]
    return found[0] if len(found) == 1 and not isinstance(found[0], list | dict) else found


def budget_of(texts: Iterable[str], declared: Within = ANY) -> Budget:
    """Return the budget of texts such as 90m and 100, or what a grid declares. Raises `NlbenchError` for what is neither."""
    minutes, cells = declared.minutes, declared.cells
    seconds = None if minutes is None else 60 * minutes
    for text in texts:
        number, unit = text[:-1], text[-1:]
        if unit in UNITS and _is_number(number):
            seconds = float(number) * UNITS[unit]
        elif text.isdecimal() and int(text):
            cells = int(text)
        else:
            raise NlbenchError(f"budget {text}: must be a time or a number of cells.", "Such as 600s, 90m, 2h, or 100.")
    return Budget(seconds, cells)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def distinct(declared: Grid) -> list[Point]:
    """Return the cells of a grid, of those that are the same run only the first."""
    found: dict[Path, Point] = {}
    for point in declared.points():
        found.setdefault(point.plan.record_path(Path()), point)
    return list(found.values())


def standing(points: Iterable[Point], results: str | Path, *, force: bool = False) -> list[tuple[Point, Cell]]:
    """Return cells with what of each is still to be run."""
    return [(point, Cell.of(point.plan, place(results), force=force)) for point in points]


class Costs(NamedTuple):
    """What cells would cost: seconds on `slots` workers, and the bytes that the largest learner keeps, all seeds together; of
    those that cannot be estimated, why, by model and stream: they are in no number.
    """

    seconds: float
    bytes: int
    slots: int
    unknown: dict[str, str]


def costs(cells: Iterable[tuple[Point, Cell]], slots: int, machine: Machine) -> Costs | None:
    """Return what the missing seeds of cells would cost, judged by the first cell of each model and stream; None where nothing is
    missing. Cost: a second or two for each of these.
    """
    found: dict[str, Estimate | None] = {}
    unknown: dict[str, str] = {}
    seconds, most = 0.0, 0
    for point, cell in cells:
        if not cell.missing:
            continue
        plan = replace(point.plan, seeds=cell.missing)
        key = f"{plan.model} on {plan.stream_name}"
        if key not in found:
            try:
                found[key] = estimate(plan, machine)
            except NlbenchError as error:
                found[key], unknown[key] = None, str(error)
        if (one := found[key]) is not None:
            seconds += one.seconds
            most = max(most, len(cell.missing) * sum(one.bytes_per_seed.values()))
    return Costs(seconds / slots, most, slots, unknown) if found else None


def unfinished(outcomes: Iterable[Outcome], on_divergence: OnDivergence) -> bool:
    """Return whether a cell has no record that should have one: it failed, or diverged where that is not put up with."""
    return any(one.state == "failed" or (one.state == "diverged" and on_divergence == "stop") for one in outcomes)


def engine(
    name: str = "local",
    *,
    address: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    memory: float | None = None,
    device: str = "auto",
) -> Engine:
    """Return what runs a sweep or a search.

    name     local: worker processes of this machine; here: this very process; ray: a Ray cluster
    address  of the cluster; auto: the one that this machine belongs to; None: one of this machine alone
    workers  that run at once; None: as many as cores, memory or GPUs hold
    threads  of each; None: local workers share the cores, a Ray task has one
    memory   GiB that one cell takes, of a GPU where it runs on one: by it workers share machines and GPUs
    device   auto, cpu or cuda
    Raises `NlbenchError` where it cannot be had.
    """
    if name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES)
    if address is not None and name != "ray":
        raise NlbenchError(f"address {address}: only the engine ray has one.", "Name it with --engine ray.")
    if name == "here":
        return Here(threads)
    if name == "ray":
        from nlbench.sweep.on_ray import OnRay

        return OnRay(address, workers, Needs(threads, memory, device.startswith("cuda")))
    from nlbench.sweep.local import Local

    return Local(workers, Needs(threads, memory, on_gpu(device)))


def on_gpu(device: str) -> bool:
    """Whether local workers run on a GPU."""
    from nlbench.sweep import gpus

    return device.startswith("cuda") or (device == "auto" and bool(gpus.free_memory()))


def sweep(
    plans: Iterable[Plan],
    results: str | Path = "results",
    *,
    engine: Engine | EngineName = "local",
    on_divergence: OnDivergence = "mask",
    force: bool = False,
    budget: Budget = UNBOUNDED,
    **machine: Unpack[MachineOptions],
) -> Iterator[Outcome]:
    """Yield what became of each plan: first of those that `results` holds already, then of the others, as they end.

    plans          such as `nlbench.resolve(…)` returns; of those that are the same run only the first counts
    engine         a name, or what `nlbench.api.engine` returned, which is closed at the end
    on_divergence  mask: seeds that diverge are left out and the record of the others says so; stop: their cell has no record
    budget         until when, and how many, cells begin
    machine        device, backend, data, checkpoint_every: as in `nlbench.run`
    A cell that fails loses nothing of the others: its outcome says why. Raises `InterruptedRunError` when a signal came; the same
    call goes on, no seed runs twice.

        outcomes = list(nlbench.api.sweep([nlbench.resolve("mlp", "split-digits", seeds=10)]))
    """
    if isinstance(engine, str):
        engine = _engine(engine, **machine)
    policy = Policy(force=force, on_divergence=on_divergence)
    yield from carry_out(plans, place(results), engine, options(**machine), policy=policy, budget=budget)


def _engine(name: str, **machine: Unpack[MachineOptions]) -> Engine:
    return engine(name, threads=machine.get("threads"), device=machine.get("device", "auto"))
