"""Names and overrides -> a run that is fully decided, with its fingerprint. Imports no torch, so that a run already recorded
starts none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypedDict

from numpy.typing import ArrayLike

from nlbench import catalog
from nlbench.errors import DataError, NlbenchError, SpecError, UnknownNameError
from nlbench.sources import Source
from nlbench.sources.given import given
from nlbench.specs import (
    LearnerSpec,
    StreamSpec,
    apply_overrides,
    digest,
    learner_spec,
    read_table,
    recipes,
    stream_spec,
)

PROTOCOL_VERSION: Final = 1
"""Changes whenever the same declaration would be presented or measured differently."""

PRECISIONS: Final = ("float32", "bf16")
"""Of matrix products. A learner declares which it has."""

_PACKAGE: Final = Path(__file__).resolve().parent
_RUNNING_HALF: Final = (
    "batch.py",
    "seeds.py",
    "sources",
    "protocol",
    "streams",
    "learners",
    "networks",
    "nested",
    "state",
    "kernels",
)

STREAM_TABLES: Final = ("stream", "protocol")
RECIPE_TABLES: Final = ("learner", "batch", "presents")


@dataclass(frozen=True)
class Machine:
    """Facts of the machine, which never change the numbers beyond rounding."""

    device: str = "auto"
    backend: str = "auto"
    data: Path | None = None


class MachineOptions(TypedDict, total=False):
    """`Machine` as keywords."""

    device: str
    backend: str
    data: str | Path | None


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

    @property
    def what(self) -> str:
        """Its kind and source, such as `split/digits`: what a recipe's `[on]` table may name in place of its name."""
        return f"{self.spec.stream.kind}/{self.source.name if self.source else ''}"

    @property
    def data(self) -> dict[str, str]:
        """Checksums of the data, by source."""
        return {} if self.source is None else {self.source.name: self.source.checksum}

    def identity(self) -> dict[str, Any]:
        """Return what makes two streams the same: everything but the names and the gate's margins."""
        return {**self.spec.identity(), "data": self.data}

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of `identity`."""
        return digest(self.identity())


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

    @property
    def fingerprint(self) -> str:
        """What decides the numbers: protocol, stream and data, learner, the code that runs, precision. Not seeds, backend,
        device or versions.
        """
        return digest(
            {
                "protocol_version": PROTOCOL_VERSION,
                "stream": self.declared.identity(),
                "learner": self.learner.identity(),
                "source": running_half_digest(),
                "precision": self.precision,
            }
        )

    def record_path(self, results: Path) -> Path:
        """Return where the run's record lies in a results folder."""
        return results / f"{self.model}.{self.stream_name}.{self.fingerprint}.parquet"

    def describe(self) -> dict[str, Any]:
        """Return the resolved declarations as plain values: what the record stores."""
        return {
            "model": self.model,
            "stream": self.stream_name,
            "scenario": self.stream.stream.scenario,
            "seeds": list(self.seeds),
            "fingerprint": self.fingerprint,
            "stream_digest": self.declared.digest,
            "stream_spec": self.stream.identity(),
            "learner_digest": self.learner.digest,
            "role": self.learner.role,
            "learner_spec": {**self.learner.identity(), "batch": self.batch},
            "data": self.declared.data,
            "check": self.stream.check.model_dump(mode="json", exclude_none=True),
            "n_tasks": self.stream.stream.tasks,
            "protocol_version": PROTOCOL_VERSION,
            "source_digest": running_half_digest(),
            "precision": self.precision,
        }


def resolve(
    model: str,
    stream: str | DeclaredStream,
    *,
    seeds: Sequence[int],
    scenario: str | None = None,
    overrides: Mapping[str, str] | None = None,
    precision: str = "float32",
) -> Plan:
    """Return the plan that names and overrides decide; `stream` is a name, a file, or the stream itself where it was made in
    Python.

    Override keys start with `stream.`, `protocol.`, `learner.`, `batch` or `presents`. Raises `SpecError` or
    `UnknownNameError`.
    """
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    overrides = dict(overrides or {})
    unknown = [key for key in overrides if key.split(".")[0] not in (*STREAM_TABLES, *RECIPE_TABLES)]
    if unknown:
        known = ", ".join((*(f"{name}.<key>" for name in (*STREAM_TABLES, "learner")), "batch", "presents"))
        raise SpecError([f"--set {key}: must be one of {known}" for key in unknown])
    if scenario is not None:
        overrides["stream.scenario"] = scenario
    declared, name = _stream(stream, overrides), _recipe_name(model)
    learner, notes = _learner(model, name, declared, overrides)
    return Plan(name, learner, declared, tuple(seeds), precision, notes)


def _stream(stream: str | DeclaredStream, overrides: Mapping[str, str]) -> DeclaredStream:
    if isinstance(stream, DeclaredStream):
        table = stream.spec.model_dump(mode="python", exclude_none=True)
        spec = stream_spec(apply_overrides(table, overrides, STREAM_TABLES), f"stream {stream.name}")
        return replace(stream, spec=spec)
    path = catalog.find("stream", stream)
    spec = stream_spec(apply_overrides(read_table(path), overrides, STREAM_TABLES), str(path))
    return DeclaredStream(path.stem, spec, spec.stream.found)


def stream_from_arrays(
    name: str,
    tasks: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]],
    *,
    scenario: str = "class-il",
    batch: int = 32,
    **protocol: object,
) -> DeclaredStream:
    """Return a stream of the given tasks, each (train inputs, train labels, test inputs, test labels), in order.

    Inputs are (n, *input_shape) and are used as they are; labels are integers that index the logits directly, from 0. Further
    keywords are the stream's `[protocol]` values, such as `passes=2` or `evaluate_every=500`. Raises `DataError` where shapes
    or labels do not fit, `SpecError` where a protocol value breaks its rule.
    """
    if not re.fullmatch(r"[^./\\\0][^/\\\0]*", name):
        raise DataError(f"stream name: must be usable as part of a file name, got {name!r}.")
    source = given(f"stream {name}", tasks)
    table = {
        "title": name,
        "stream": {"kind": "arrays", "tasks": len(source.tasks), "scenario": scenario},
        "protocol": {"batch": batch, **protocol},
    }
    return DeclaredStream(name, stream_spec(table, f"stream {name}"), source)


def _recipe_name(model: str) -> str:
    """Return the short name of a recipe, of its file, or of the class that stands for one."""
    place, _, name = model.rpartition(":")
    return name if place else Path(model).stem if model.endswith(".toml") else model


def _learner(model: str, name: str, stream: DeclaredStream, overrides: Mapping[str, str]) -> tuple[LearnerSpec, tuple[str, ...]]:
    table: dict[str, Any]
    if ":" in model:
        table, where = {"learner": {"kind": model}}, model
    else:
        try:
            path = catalog.find("model", model)
        except UnknownNameError as error:
            registered = catalog.registered("learners")
            if model not in registered:
                raise UnknownNameError("model", model, [*catalog.names("model"), *registered]) from error
            table, where = {"learner": {"kind": model}}, model
        else:
            table, where = read_table(path), str(path)
            if lines := recipes.mistyped(table, {*catalog.names("stream"), stream.name}, where):
                raise SpecError(lines)
    note = _overlooked(table, where, stream)
    # the command line has the last word
    table = apply_overrides(recipes.merged(table, (stream.what, stream.name)), overrides, RECIPE_TABLES)
    return learner_spec(table, where, name=name, source_digest=source_digest(table)), (note,) if note else ()


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


def source_digest(table: Mapping[str, Any]) -> str:
    """Return the digest of the module an external learner lives in; nothing for a built-in one."""
    kind = str(table.get("learner", {}).get("kind", "")) if isinstance(table.get("learner"), dict) else ""
    if not kind or catalog.built_in("learners", kind):
        return ""
    place, _, name = kind.rpartition(":")
    if place.endswith(".py"):
        path = Path(place)
        if not path.is_file():
            raise NlbenchError(f"{path}: there is no such file.", "Name a learner as ./file.py:Class.")
    else:
        path = _module_file(place or catalog.registered("learners")[name].module)
    return digest(path.read_text(encoding="utf-8"))


def _module_file(module: str) -> Path:
    """Return the source file of a module; its parent packages are imported, it is not."""
    try:
        found = find_spec(module) if module else None
    except ImportError as error:
        raise NlbenchError(f"{module}: cannot be imported: {error}.", "Name a learner as package.module:Class.") from None
    if found is None or not str(found.origin).endswith(".py"):
        raise NlbenchError(f"{module}: there is no such module with a source file.", "Name a learner as package.module:Class.")
    return Path(str(found.origin))


@cache
def running_half_digest() -> str:
    """Return the digest of the package's own source that makes the numbers."""
    content = blake2b(digest_size=8)
    for part in _RUNNING_HALF:
        place = _PACKAGE / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            content.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return content.hexdigest()
