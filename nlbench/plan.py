"""Names and overrides -> a run that is fully decided, with its fingerprint. Imports no torch, so that a run already recorded
starts none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypedDict

import numpy as np

from nlbench import catalog, sources
from nlbench.code import Code, Part, networks
from nlbench.errors import DataError, NlbenchError, SpecError, UnknownNameError
from nlbench.escaping import name_fault, printable
from nlbench.sources import Source, is_data
from nlbench.sources.in_memory import from_arrays
from nlbench.specs import (
    Closed,
    ExternalConfig,
    LearnerSpec,
    StreamSpec,
    apply_overrides,
    learner_spec,
    read_table,
    recipes,
    stream_spec,
)
from nlbench.specs.identity import fingerprint, stream_digest
from nlbench.specs.placing import code_files, from_here
from nlbench.specs.python_models import learner_of
from nlbench.specs.reading import reading
from nlbench.specs.streams import Check, Protocol

# History of PROTOCOL_VERSION (raise it when the same declaration would be presented, measured or identified differently):
#   1  the first.
#   2  a stream is apart from the terms it is presented under; the code that a run can reach, not all of the package's.
PROTOCOL_VERSION: Final = 2

PRECISIONS: Final = ("float32", "bf16")
"""Of matrix products. A learner declares which it has."""

FILE_BATCH: Final = 32
"""Samples in a batch of a stream that is named by its data file alone."""

DISTURBED: Final = "nlbench.streams.disturbed:disturbed"
"""The code of a stream that is disturbed, beside its kind's."""

STREAM_TABLES: Final = ("stream", "protocol", "check")
RECIPE_TABLES: Final = ("learner", "batch", "presents")


@dataclass(frozen=True)
class Machine:
    """Facts of the machine, which never change the numbers beyond rounding.

    threads           None: a share of the cores, see `nlbench.runner.cores`
    checkpoint_every  seconds between checkpoints within a task; 0: there are none within tasks
    checkpoint_gap    seconds between two checkpoints at least, at task boundaries too: short runs of many keep none
    wait              whether to wait for another process that is at the same run
    save              folder in which the learner is saved when it has run
    """

    device: str = "auto"
    backend: str = "auto"
    data: Path | None = None
    threads: int | None = None
    checkpoint_every: float = 60.0
    checkpoint_gap: float = 0.0
    wait: bool = True
    save: Path | None = None


class MachineOptions(TypedDict, total=False):
    """`Machine` as keywords."""

    device: str
    backend: str
    data: str | Path | None
    threads: int | None
    checkpoint_every: float
    wait: bool
    save: str | Path | None


class RunOptions(MachineOptions, total=False):
    """`Machine` as keywords, and the precision of products, which decides numbers."""

    precision: str


@dataclass(frozen=True)
class DeclaredStream:
    """A stream under its name: its declaration, and the data set that it is cut from, arrays given in Python included; None
    where its kind makes its own samples.
    """

    name: str
    spec: StreamSpec
    source: Source | None

    def __repr__(self) -> str:
        return (
            f"<nlbench stream {self.name}: {self.spec.stream.kind}, {self.spec.stream.tasks} tasks, {self.spec.stream.scenario}>"
        )

    @property
    def what(self) -> str:
        """Its kind and source, such as `split/digits`: what a recipe's `[on]` table may name in place of its name."""
        return f"{self.spec.stream.kind}/{self.source.name if self.source else ''}"

    @property
    def data(self) -> dict[str, str]:
        """Checksums of the data, by source."""
        return {} if self.source is None else {self.source.name: self.source.checksum}

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of what the stream is."""
        return stream_digest(self.spec.identity(), self.data)

    @property
    def disturbed(self) -> bool:
        """Whether its tasks are other than its kind makes them."""
        said = self.spec.stream
        return any(table is not None for table in (said.recurrence, said.imbalance, said.noise, said.blur))

    @property
    def parts(self) -> list[Part]:
        """The extensions that make it: its kind, its data set unless that was given in Python, and what disturbs its tasks."""
        source = getattr(self.spec.stream, "source", None)
        if isinstance(source, str) and is_data(source):
            source = "nlbench.sources.user_files:FileSource"
        cut: list[Part] = [("source", "sources", source)] if isinstance(source, str) else []
        disturbed: list[Part] = [("disturbances", "streams", DISTURBED)] if self.disturbed else []
        return [("stream", "streams", self.spec.stream.kind), *cut, *disturbed]


@dataclass(frozen=True)
class Plan:
    """One learner on one stream over a set of seeds, every value decided."""

    model: str
    learner: LearnerSpec
    declared: DeclaredStream
    seeds: tuple[int, ...]
    precision: str = "float32"
    notes: tuple[str, ...] = ()
    """What the user should know of how it was decided."""
    code: Code = field(default_factory=lambda: Code({}), repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Where files of the user's own lie that it is made of, from the present folder, by the options and keys that name them."""

    @property
    def stream_name(self) -> str:
        """The stream's name."""
        return self.declared.name

    @property
    def stream(self) -> StreamSpec:
        """The stream's declaration."""
        return self.declared.spec

    @property
    def batch(self) -> int:
        """Samples in a training batch: the recipe's, or else the stream's."""
        return self.learner.batch or self.stream.protocol.batch

    @cached_property
    def fingerprint(self) -> str:
        """What decides the numbers: protocol, stream and data, terms, measurement, learner, the code that the run can reach,
        precision. Not seeds, backend, device or versions.
        """
        return fingerprint(self._facts)

    def of_seeds(self, seeds: tuple[int, ...]) -> Plan:
        """Return the plan of these seeds alone."""
        return self if seeds == self.seeds else replace(self, seeds=seeds)

    @property
    def parts(self) -> list[Part]:
        """The extensions that the run is made of."""
        learner = self.learner.learner
        parts = self.declared.parts
        if isinstance(kind := getattr(learner, "kind", None), str):
            parts.append(("learner", "learners", kind))
        if isinstance(build := getattr(learner, "build", None), str):
            parts.append(("estimator", "learners", build))
        network = getattr(learner, "network", None)
        own = {"network": network.model_dump()} if isinstance(network, Closed) else {}
        return [*parts, *networks(learner.options if isinstance(learner, ExternalConfig) else own)]

    @property
    def _facts(self) -> dict[str, Any]:
        protocol = self.stream.protocol
        return {
            "protocol_version": PROTOCOL_VERSION,
            "stream_spec": self.stream.identity(),
            "data": self.declared.data,
            "terms": {
                "passes": protocol.passes,
                "batch": self.batch,
                "boundaries": protocol.boundaries,
                **({"augment": "+".join(sorted(protocol.augment))} if protocol.augment else {}),
            },
            "evaluation": self.stream.evaluation(),
            "learner_spec": self.learner.identity(),
            "code": dict(self.code.digests),
            "precision": self.precision,
        }

    def record_path(self, results: Path) -> Path:
        """Return where the run's record lies in a results folder."""
        return results / f"{self.model}.{self.stream_name}.{self.fingerprint}.parquet"

    @property
    def run(self) -> str:
        """What tells one execution's plan from another's: the fingerprint and the seeds."""
        return blake2b(f"{self.fingerprint}/{self.seeds}".encode(), digest_size=6).hexdigest()

    def checkpoint_path(self, results: Path) -> Path:
        """Return where the checkpoint of exactly this plan lies in a results folder while it runs."""
        return results / ".checkpoints" / f"{self.model}.{self.stream_name}.{self.run}.checkpoint"

    def lock_path(self, results: Path) -> Path:
        """Return where the lock lies that whoever runs exactly this plan holds."""
        return self.checkpoint_path(results).with_suffix(".lock")

    def describe(self) -> dict[str, Any]:
        """Return the resolved declarations as plain values: what the record stores."""
        facts = self._facts
        return {
            **facts,
            "model": self.model,
            "stream": self.stream_name,
            "scenario": self.stream.stream.scenario,
            "seeds": list(self.seeds),
            "fingerprint": fingerprint(facts),
            "stream_digest": self.declared.digest,
            "learner_digest": self.learner.digest,
            "role": self.learner.role,
            "check": self.stream.check.model_dump(mode="json", exclude_none=True),
            "n_tasks": self.stream.stream.tasks,
            **({"conflict": True} if self.stream.stream.conflicts else {}),
        }


def resolve(
    model: object,
    stream: str | DeclaredStream,
    *,
    seeds: Sequence[int],
    scenario: str | None = None,
    overrides: Mapping[str, str] | None = None,
    precision: str = "float32",
) -> Plan:
    """Return the plan that names and overrides decide; `stream` is a name, a file, or the stream itself where it was made in
    Python.

    Override keys start with `stream.`, `protocol.`, `check.`, `learner.`, `batch` or `presents`. Raises `SpecError` or
    `UnknownNameError`.
    """
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    overrides = dict(overrides or {})
    unknown = [key for key in overrides if key.split(".")[0] not in (*STREAM_TABLES, *RECIPE_TABLES)]
    if unknown:
        known = ", ".join((*(f"{name}.<key>" for name in (*STREAM_TABLES, "learner")), "batch", "presents"))
        raise SpecError([f"--set {key}: must be one of {known}{_meant(key)}" for key in unknown])
    if scenario is not None:
        overrides["stream.scenario"] = scenario
    try:
        declared = _stream(stream, overrides)
        name, table, where = _recipe(model, declared)
        learner, notes = _learner(table, where, name, declared, overrides)
        declared, told = _presented(declared, learner, overrides)
    except SpecError as error:
        raise SpecError([_blamed(problem, overrides) for problem in error.problems]) from None
    for what, named in (("model", name), ("stream", declared.name)):
        if rule := name_fault(named):
            raise NlbenchError(f"{what} {printable(named)!r}: a name {rule}.", "Rename its file.")
    of_data = declared.source.remarks if declared.source is not None else ()
    plan = Plan(name, learner, declared, tuple(seeds), precision, (*of_data, *notes, *told))
    code = Code.of(plan.parts)
    return replace(plan, code=code, notes=(*plan.notes, *code.remarks), files=_files(model, stream, learner, declared))


def _files(model: object, stream: object, learner: LearnerSpec, declared: DeclaredStream) -> dict[str, str]:
    cut = declared.spec.stream
    read = getattr(cut, "read", None)
    data = {"stream.source": getattr(cut, "source", None), "stream.read.test": None if read is None else read.test}
    named = {"model": model, "stream": stream, **data, **code_files(learner.learner.model_dump(mode="json"), "learner")}
    files = {key: name for key, name in named.items() if isinstance(name, str) and _is_file(name)}
    return {key: place for key, name in files.items() if (place := from_here(name))}


def _is_file(name: str) -> bool:
    return is_data(name) or ".py:" in name or name.endswith(".toml")


def _meant(key: str) -> str:
    """Return which key may be meant by one of no table, or of a mistyped one."""
    head, dot, rest = key.partition(".")
    tables = [f"{table}.{key}" for table, model in (("protocol", Protocol), ("check", Check)) if key in model.model_fields]
    near = [f"{table}{dot}{rest}" for table in get_close_matches(head, (*STREAM_TABLES, *RECIPE_TABLES), n=1)]
    return "".join(f" (did you mean {meant}?)" for meant in [*tables, *near][:1])


def _blamed(problem: str, overrides: Mapping[str, str]) -> str:
    """Return a problem with `--set` in place of the file, where the key that is to blame, or one in its table, was set there."""
    _, _, told = problem.partition(": ")
    blamed = told.partition(":")[0]
    set_ = blamed in overrides or ("." in blamed and any(key.startswith(f"{blamed}.") for key in overrides))
    return f"--set {told}" if set_ else problem


def _stream(stream: str | DeclaredStream, overrides: Mapping[str, str]) -> DeclaredStream:
    if isinstance(stream, DeclaredStream):
        if not any(key.split(".")[0] in STREAM_TABLES for key in overrides):
            return stream
        table = stream.spec.model_dump(mode="python", exclude_none=True)
        spec = stream_spec(apply_overrides(table, overrides, STREAM_TABLES), f"stream {stream.name}")
        return replace(stream, spec=spec)
    if is_data(stream) or ":" in stream:
        name = sources.called(stream) if is_data(stream) else stream.rpartition(":")[2]
        table = _of_source(stream, overrides)
        spec = stream_spec(apply_overrides(table, overrides, STREAM_TABLES), f"stream {stream}")
        return DeclaredStream(name, spec, spec.stream.found)
    name, _, version = (stream, "", "") if "/" in stream or stream.endswith(".toml") else stream.partition("@")
    path = catalog.find("stream", name)
    spec = stream_spec(apply_overrides(read_table(path), overrides, STREAM_TABLES), str(path))
    if version not in ("", str(spec.version)):
        hint = f"Name {name}@{spec.version}, or install the nlbench that has the other."
        raise NlbenchError(f"{printable(stream)}: this version of nlbench has {name}@{spec.version}.", hint)
    return DeclaredStream(path.stem, spec, spec.stream.found)


_CUTS: Final = ("stream.tasks", "stream.sizes")
"""Either says how a file's classes are dealt out to tasks."""


def _of_source(name: str, overrides: Mapping[str, str]) -> dict[str, Any]:
    """Return the declaration of a data file, or of a function of arrays, that is named as a stream: its own tasks where it says
    them, otherwise its classes, dealt out to `stream.tasks`.
    """
    read = {key: value for key, value in overrides.items() if key.startswith("stream.read.")}
    said = apply_overrides({}, read, ("stream",)).get("stream", {}).get("read")
    source = sources.find(name, None if said is None else reading(said, name))
    own = getattr(source, "n_tasks", 1)
    if own == 1 and not set(_CUTS) & set(overrides):
        mistyped = "".join(f", not {key}" for key in overrides if get_close_matches(key, _CUTS, cutoff=0.8))
        told = f"{name}: says no tasks: deal out its {source.n_classes} classes with --set stream.tasks=N{mistyped}"
        raise SpecError([told])
    cut: dict[str, Any] = {"kind": "arrays", "tasks": own} if own > 1 else {"kind": "split"}
    return {"title": Path(name).name, "stream": {**cut, "source": name}, "protocol": {"batch": FILE_BATCH}}


def _presented(
    stream: DeclaredStream, learner: LearnerSpec, overrides: Mapping[str, str]
) -> tuple[DeclaredStream, tuple[str, ...]]:
    """Return the stream as a recipe has it presented, and what there is to say of it. How often, and whether the learner is told
    that a task ended, is of the terms, and no part of what a stream is.
    """
    said = {name: getattr(learner, name) for name in ("passes", "boundaries") if f"protocol.{name}" not in overrides}
    before = stream.spec.protocol
    protocol = before.model_copy(update={name: value for name, value in said.items() if value is not None})
    told = (f"{learner.name} is told when a task ends, as its recipe says: boundaries are a term, shown beside every number.",)
    presented = replace(stream, spec=stream.spec.model_copy(update={"protocol": protocol}))
    return presented, told if protocol.boundaries and not before.boundaries else ()


def stream_from_arrays(
    name: str,
    tasks: Iterable[Any],
    *,
    scenario: str = "class-il",
    batch: int = 32,
    check: Mapping[str, float] | None = None,
    **protocol: object,
) -> DeclaredStream:
    """Return a stream of the given tasks, each (train inputs, train labels, test inputs, test labels), in order.

    Inputs are (n, *input_shape), images (n, channels, height, width), as arrays or tensors; they are copied, and used as they
    are, so bytes are refused. Labels are integers that index the logits directly, from 0; words, which a data file may have, are
    refused. A task may also be a dict of `train_inputs`, `train_labels`, `test_inputs` and `test_labels`, or (train, test), each
    (inputs, labels) or a torch Dataset with a length, which is read once; a task label behind each label, as Avalanche's have it,
    is let be. `check` are the gate's margins, such as {"average_accuracy": 0.01}. Further keywords are the stream's `[protocol]`
    values, such as `passes=2` or `evaluate_every=500`. Raises `DataError` where shapes or labels do not fit, `SpecError` where a
    value breaks its rule.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[^./\\\0][^/\\\0]*", name):
        raise DataError(f"stream name: must be usable as part of a file name, got {name!r}.")
    source = from_arrays(f"stream {name}", tasks)
    table = {
        "title": name,
        "stream": {"kind": "arrays", "tasks": len(source.tasks), "scenario": scenario},
        "protocol": {key: _plain(value) for key, value in {"batch": batch, **protocol}.items()},
        "check": {key: _plain(value) for key, value in (check or {}).items()},
    }
    return DeclaredStream(name, stream_spec(table, f"stream {name}"), source)


def _plain(value: object) -> object:
    """Return NumPy's numbers as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _recipe_name(model: str) -> str:
    """Return the short name of a recipe, of its file, or of the class that stands for one."""
    place, _, name = model.rpartition(":")
    return name if place else Path(model).stem if model.endswith(".toml") else model


def _recipe(model: Any, stream: DeclaredStream) -> tuple[str, dict[str, Any], str]:
    """Return a recipe's name, its table, and the place that errors name; of what Python gave, the recipe that stands for it."""
    if not isinstance(model, str):
        learner = learner_of(model)
        name = (model if isinstance(model, type) else type(model)).__qualname__.rpartition(".")[2]
        return name, {"learner": learner}, name
    name = _recipe_name(model)
    if ":" in model:
        return name, {"learner": {"kind": model}}, model
    try:
        path = catalog.find("model", model)
    except UnknownNameError as error:
        registered = catalog.registered("learners")
        if model not in registered:
            raise catalog.unknown("model", model, registered) from error
        return name, {"learner": {"kind": model}}, model
    table = read_table(path)
    if lines := recipes.mistyped(table, {*catalog.names("stream"), stream.name}, str(path)):
        raise SpecError(lines)
    return name, table, str(path)


def _learner(
    table: dict[str, Any], where: str, name: str, stream: DeclaredStream, overrides: Mapping[str, str]
) -> tuple[LearnerSpec, tuple[str, ...]]:
    note = _overlooked(table, where, stream)
    # the command line has the last word
    table = apply_overrides(recipes.merged(table, (stream.what, stream.name)), overrides, RECIPE_TABLES)
    return learner_spec(table, where, name=name), (note,) if note else ()


def _overlooked(table: Mapping[str, Any], place: str, stream: DeclaredStream) -> str:
    """Return what there is to say where a recipe has values for a stream of ours, and a stream of the user's own, of the same
    kind and source, gets none of them.
    """
    on = recipes.tables(table)
    ours = catalog.names("stream")
    if stream.name in (*on, *ours) or stream.what in on:
        return ""
    for name in on:
        if name in ours:
            cut = read_table(catalog.find("stream", name))["stream"]
            if f"{cut['kind']}/{cut.get('source')}" == stream.what:
                return (
                    f'{place}: on."{name}" is for the stream of that name: {stream.name}, which is {stream.what} too, gets none'
                    f' of its values. Call the table on."{stream.what}", or copy it as on."{stream.name}".'
                )
    return ""
