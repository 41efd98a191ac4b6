"""What runs: a learner on a stream, a search of its values, an estimate of its cost. Imports torch only when it must."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from math import inf
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Final, Unpack

from nlbench import plan as plans
from nlbench.api.progress import Watcher, watcher
from nlbench.errors import NlbenchError, Remark, UnknownNameError
from nlbench.launching import Listener as Listener
from nlbench.launching import complete, running_half
from nlbench.launching import missing_seeds as missing_seeds
from nlbench.places import place
from nlbench.plan import DeclaredStream, Machine, MachineOptions, Plan, RunOptions
from nlbench.plan import stream_from_arrays as stream_from_arrays
from nlbench.records import Record, read_record
from nlbench.seeds import USUAL
from nlbench.specs.streams import Protocol

if TYPE_CHECKING:
    import pandas

    from nlbench.runner import Estimate
    from nlbench.runner.trained import Trained


class Shown(RunOptions, total=False):
    """What `run` takes beside facts of the experiment: the machine's, the precision, and who is shown how far it is."""

    progress: bool | Watcher


@dataclass(frozen=True)
class Run:
    """A finished run: its record, which seeds were run now (none if all were recorded before), and which of what was run another
    run recorded meanwhile: there its values are kept."""

    record: Record
    seeds_run: tuple[int, ...]
    seeds_kept: tuple[int, ...] = ()
    plan: Plan | None = field(default=None, repr=False)
    saved: Path | None = None
    """The folder in which its learner was saved, if it was."""

    @property
    def path(self) -> Path:
        """Where the record lies."""
        return self.record.path

    def metric(self, name: str) -> dict[int, float | None]:
        """Return one metric by seed; None where it was not measured."""
        return self.record.metric(name)

    def to_pandas(self) -> pandas.DataFrame:
        """Return every row of the record."""
        return self.record.to_pandas()

    def __repr__(self) -> str:
        return f"<nlbench.Run {self.record.model} on {self.record.stream}, {len(self.record.seeds)} seeds: {self.path}>"

    def learner(self, seed: int) -> Trained:
        """Return the learner of a seed as the run left it, which predicts: `run.learner(0).predict(inputs)`.

        Raises `NlbenchError` where the run saved none.
        """
        if self.saved is None or self.plan is None:
            raise NlbenchError("the learner of this run was not saved.", 'Save it: nlbench.run(…, save="learners").')
        half = running_half()
        names = [kind for _, _, kind in self.plan.parts if ":" in kind]
        return half.trained.load(half.trained.find(self.saved, self.plan, seed), names, Machine(), seed)


MOST_SEEDS: Final = 100_000


def parse_seeds(seeds: int | str | Iterable[int]) -> tuple[int, ...]:
    """Return the seeds: 5 or "5" means 0…4; "3,7" those two; "3," that one."""
    if isinstance(seeds, str):
        parts = [part.strip() for part in seeds.split(",")]
        if not all(part.isdecimal() for part in parts if part) or not any(parts):
            raise NlbenchError(
                f"seeds must be a number, or numbers separated by commas, got {seeds!r}.",
                "5 means 0…4; 3,7 those two; 3, that one.",
            )
        if any(len(part) > len(str(2**63)) for part in parts):
            raise NlbenchError(f"seeds must be below 2^63, got {seeds[:60]!r}.")
        seeds = int(parts[0]) if len(parts) == 1 else [int(part) for part in parts if part]
    if isinstance(seeds, Integral):
        if int(seeds) > MOST_SEEDS:
            raise NlbenchError(f"seeds must be at most {MOST_SEEDS:,}, got {seeds}.", f"A single one is written {seeds},")
        if int(seeds) < 1:
            raise NlbenchError(f"seeds must be at least 1, got {seeds}.", "5 means 0…4; 3, that one.")
        seeds = range(int(seeds))
    chosen = list(seeds) if isinstance(seeds, Iterable) else []
    if not chosen or not all(isinstance(seed, Integral) and 0 <= int(seed) < 2**63 for seed in chosen):
        raise NlbenchError(f"seeds must be at least one whole number from 0, below 2^63, got {seeds!r}.")
    return tuple(sorted({int(seed) for seed in chosen}))


def resolve(
    model: object,
    stream: str | DeclaredStream,
    *,
    seeds: int | str | Sequence[int] = USUAL,
    scenario: str | None = None,
    overrides: Mapping[str, str] | None = None,
    precision: str = "float32",
) -> Plan:
    """Return what `run` would do, every value decided, without running it."""
    chosen = parse_seeds(seeds)
    return plans.resolve(model, stream, seeds=chosen, scenario=scenario, overrides=overrides, precision=precision)


def run(
    model: object,
    stream: str | DeclaredStream,
    *,
    seeds: int | str | Sequence[int] = USUAL,
    results: str | Path = "results",
    scenario: str | None = None,
    overrides: Mapping[str, str] | None = None,
    force: bool = False,
    listen: Listener | None = None,
    **options: Unpack[Shown],
) -> Run:
    """Return the finished run of a learner on a stream; seeds already recorded in `results` are not run again.

    model      a recipe's name or file, `package.module:Class` or `./file.py:Class`; or as it is, of a notebook too: a class of
               learners, a torch module or its class (fine-tuned; overrides={"learner.kind": …} names a method; made with
               `input_shape` and `n_classes`, each if it has an argument of that name, and with what overrides say of
               "learner.network.options.NAME"), an estimator with `partial_fit`
    stream     a stream's name or file, or what `stream_from_arrays` returned
    seeds      5 means 0…4; a sequence means those
    overrides  facts of the experiment, such as {"learner.width": "512", "protocol.passes": "2"}
    listen     called with every row as it is measured
    options    device, backend, data, threads, checkpoint_every, wait, save: facts of the machine, see `nlbench.plan.Machine`;
               precision: "bf16" makes matrix products in bfloat16, for learners that declare it; progress: True shows samples,
               loss, rate and time left, in a notebook too, and a function is called with each `nlbench.runner.Moment`
    Raises `NlbenchError` kinds for what the user can mend. A run that was interrupted is resumed when called again; what is
    remarked on the way is a warning.
    """
    known_keywords(run, Shown, options)
    precision = options.get("precision", "float32")
    plan = resolve(model, stream, seeds=seeds, scenario=scenario, overrides=overrides, precision=precision)
    for remark in plan.notes:
        warnings.warn(remark, Remark, stacklevel=2)
    shown = watcher(options.get("progress", False), f"{plan.model} on {plan.stream_name}")
    return carry_out(plan, place(results), _machine(options), force=force, listen=listen, progress=shown)


def warned(remark: str) -> None:
    """Warn of what a run remarks: what is told where nobody else listens."""
    warnings.warn(remark, Remark, stacklevel=2)


def carry_out(
    plan: Plan,
    results: Path,
    machine: Machine,
    *,
    force: bool = False,
    listen: Listener | None = None,
    tell: Callable[[str], None] = warned,
    progress: Watcher | None = None,
) -> Run:
    """Return the finished run of a plan; `tell` is given remarks on the way, `progress` moments of the run. Imports torch only
    if a seed is missing from the record. Of two processes that run the same plan, the second waits for the first, and then finds
    its record. Where a third made the record anew at once, without these seeds, they are run again.
    """
    path = plan.record_path(results)
    made = complete(plan, results, machine, force=force, listen=listen, tell=tell, progress=progress)
    while not set(plan.seeds) <= set((record := read_record(path)).seeds):
        made = complete(plan, results, machine, listen=listen, tell=tell, progress=progress)
    return Run(record, made.added, made.kept, plan, machine.save)


def options(**machine: Unpack[MachineOptions]) -> Machine:
    """Return the facts of the machine from keywords."""
    known_keywords(options, MachineOptions, machine)
    return _machine(machine)


def known_keywords(function: Callable[..., object], passed_on: type, given: Mapping[str, object]) -> None:
    """Refuse a keyword that a function neither takes nor passes on, with the nearest that it does."""
    takes = [name for name, one in signature(function).parameters.items() if one.kind is not one.VAR_KEYWORD]
    known = [*takes, *passed_on.__annotations__]
    for name in given:
        if name in Protocol.model_fields:
            hint = f'Override what the protocol says: overrides={{"protocol.{name}": "{given[name]}"}}.'
            raise NlbenchError(f"unknown keyword of {function.__name__} {name!r}.", hint)
        if name not in known:
            raise UnknownNameError(f"keyword of {function.__name__}", name, known)


def _machine(machine: MachineOptions) -> Machine:
    data, threads, save = machine.get("data"), machine.get("threads"), machine.get("save")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, Integral) or threads < 1):
        raise NlbenchError(f"threads: must be a whole number from 1, got {threads!r}.", "Leave it out for a share of the cores.")
    every = machine.get("checkpoint_every", 60.0)
    if isinstance(every, bool) or not isinstance(every, Real) or not 0 <= every < inf:
        raise NlbenchError(f"checkpoint_every: must be a number of seconds from 0, got {every!r}.", "0: none within tasks.")
    return Machine(
        device=machine.get("device", "auto"),
        backend=machine.get("backend", "auto"),
        data=Path(data) if data is not None else None,
        threads=int(threads) if threads is not None else None,
        checkpoint_every=float(every),
        wait=machine.get("wait", True),
        save=Path(save) if save is not None else None,
    )


def estimate(plan: Plan, machine: Machine) -> Estimate:
    """Return steps, updates per level, bytes per seed and a time estimate for a plan, from a few timed batches."""
    half = running_half()
    with half.shortages_told():
        return half.estimate(plan, machine)
