"""The command that makes a record again, and whether it still makes the same one."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from nlbench import catalog
from nlbench.errors import DataError, NlbenchError
from nlbench.escaping import printable
from nlbench.plan import FILE_BATCH, RECIPE_TABLES, STREAM_TABLES, DeclaredStream, Plan, resolve
from nlbench.records import Record, terms
from nlbench.records.facts import flatten, stated
from nlbench.reporting import in_python
from nlbench.sources import Source, called, is_data
from nlbench.specs import stream_spec
from nlbench.specs.kinds import UNRESOLVED
from nlbench.specs.model import NONE
from nlbench.specs.streams import Protocol

_GROUPS: Final[tuple[catalog.Group, ...]] = ("learners", "networks", "streams", "sources")
_PLAIN: Final = "chance"
"""A recipe that leaves a stream as it is."""
_OPTIONS: Final = "learner.options."  # an external learner's own values: written `learner.<name>` in a recipe

_TEST: Final = "stream.read.test"
_DATA: Final = ("stream.source", _TEST)
"""What a stream that the user gives says itself, whatever the record's was cut from."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded(Source):
    """A data set of which only a record speaks."""

    checksum_said: str
    title: str = ""
    kind: Literal["image", "vector", "sequence", "features"] = "vector"
    input_shape: tuple[int, ...] = ()
    n_classes: int = 1

    @property
    def checksum(self) -> str:
        return self.checksum_said


class Rerun(NamedTuple):
    """A command line, what must be known before trusting that it gives the same numbers, and what it would do.

    plan       null where that cannot be said without opening what only the record names, or not with today's declarations
    in_python  the command is a call in Python, which alone can give what the run was given
    """

    command: str
    remark: str
    plan: Plan | None = None
    in_python: bool = False


def rerun(record: Record, *, model: object = None, stream: str | DeclaredStream | None = None) -> Rerun:
    """Return the command that runs the record's learner on its stream again, today's declarations --set to what was recorded;
    where Python gave one of them, the call in Python. Files of the user's own are named as the run named them.

    The remark says whether that resolves to the record's fingerprint, and if not, which part of it differs. What a record names
    is looked up only among the package's own names: no file is opened and no module imported for it. `model` and `stream` are
    what the user gives, by name or as `nlbench.run` takes it, in place of what is not the package's own. Cost: milliseconds.
    """
    said = record.footer
    found = in_python.given(record)
    python = in_python.Given("" if isinstance(model, str) else found.model, "" if isinstance(stream, str) else found.stream)
    lacking = in_python.Given("" if model is not None else found.model, "" if stream is not None else found.stream)
    learner = model if isinstance(model, str) else _model(record)
    overrides: dict[str, str] = {}
    if isinstance(stream, str) and _is_data(stream):
        overrides = _beside_file(record)
        if test := overrides.get(_TEST):
            overrides[_TEST] = _test_file(Path(test).name, Path(stream))
    itself = () if stream is None else _DATA if isinstance(stream, str) and _is_data(stream) else ("stream.kind", *_DATA)
    named, own = _named(record) if stream is None else (stream if isinstance(stream, str) else record.stream, {})
    declared = record.stream if stream is None else stream
    plan = None

    def planned() -> Plan:
        given = learner if model is None else model
        return resolve(given, declared, seeds=record.seeds, overrides=overrides, precision=said.precision)

    foreign = sorted(_foreign(record, model is not None, stream is not None))
    try:
        if stream is None and named != record.stream and not foreign:
            declared = _of_file(record)
        if foreign:
            overrides = _of_foreign(record, in_python.unset(record, found))
            raise NlbenchError(f"{_list(foreign)} is not the package's own, and nothing else that a record names is opened.")
        then = _settable(terms.stream(said), record.terms, record.evaluation, said.learner_spec)
        for tables in (STREAM_TABLES[:1], (*STREAM_TABLES[1:], *RECIPE_TABLES)):  # what is left out may follow from the stream
            facts = planned().describe()
            today = _settable(facts["stream_spec"], facts["terms"], facts["evaluation"], facts["learner_spec"])
            due = {key: value for key, value in then.items() if key.split(".")[0] in tables and key not in itself}
            overrides |= _overrides(today, due)
            if asked := sorted(_of_others(overrides)):
                raise NlbenchError(f"{_list(asked)} is named by the record alone, and is not opened.")
        plan = planned()
        remark = _remark(record, plan)
    except NlbenchError as error:
        remark = lacking.remark(record) if any(lacking) else f"Not reconstructed from today's declarations: {error}"
    if named != record.stream and stream is None:
        remark += f" It runs where {named} lies."
    if stream is None and not isinstance(declared, str):  # a file of which only the record speaks
        plan = None
    lay = {key: said.files[key] for key in own | overrides if key in said.files and not (stream and key.startswith("stream."))}
    values = own | overrides | lay
    if any(python):
        return Rerun(in_python.call(record, python, learner, named, values), remark, plan, in_python=True)
    words = ["nlbench", "run", "--model", learner, "--stream", named, "--seeds", seeds_text(record.seeds)]
    if said.precision != "float32":
        words += ["--precision", said.precision]
    for key, value in values.items():
        words += ["--set", f"{key}={value}"]
    return Rerun(shlex.join(words), remark, plan)


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(printable, names))


def _model(record: Record) -> str:
    """Return what names the record's learner on the command line."""
    kind = record.footer.learner_kind
    if ":" not in kind and record.model in catalog.names("model"):
        return record.model
    return record.footer.files.get("model") or (kind if ":" in kind else f"./{record.model}.toml")


def _of_foreign(record: Record, unset: Mapping[str, Any]) -> dict[str, str]:
    """Return the `--set` values of a run of what is not the package's own: all that its learner was given beside what it is where
    nothing is set, and, on a stream of ours, in what that stream was changed.
    """
    said = record.footer
    then = _settable(terms.stream(said), record.terms, record.evaluation, said.learner_spec)
    own = {key: value for key, value in then.items() if key.startswith("learner.") and key != "learner.kind"}
    own = _overrides(_settable({}, {}, {}, unset), own)
    if record.stream not in catalog.names("stream"):
        return own
    facts = resolve(_PLAIN, record.stream, seeds=record.seeds).describe()
    today = _settable(facts["stream_spec"], facts["terms"], facts["evaluation"], facts["learner_spec"])
    others = {key: value for key, value in then.items() if not key.startswith("learner.")}
    return own | _overrides(today, others)


def _named(record: Record) -> tuple[str, dict[str, str]]:
    """Return what names the record's stream on the command line, and what must be set beside where that is a data file itself, or
    a function of arrays.
    """
    said = terms.stream(record.footer).get("stream", {})
    source = said.get("source")
    if record.stream in catalog.names("stream") or not (isinstance(source, str) and _is_data(source)):
        return record.stream, {}
    itself = record.stream in (called(source), source.rpartition(":")[2])
    place = record.footer.files.get("stream") or (f"./{source}" if itself else f"./{record.stream}.toml")
    return place, {} if place.endswith(".toml") else _beside_file(record)


def _is_data(name: str) -> bool:
    """Return whether a name is that of data of one's own, or of a function of arrays."""
    return is_data(name) or ".py:" in name


def _beside_file(record: Record) -> dict[str, str]:
    """Return what must be set beside a stream that is named by its data alone, for it to be the record's."""
    said = terms.stream(record.footer).get("stream", {})
    left_out = {"stream.kind", "stream.source", *(["stream.tasks"] if said.get("kind") == "arrays" else [])}
    protocol = _presented(record)
    usual = Protocol(batch=FILE_BATCH).model_dump(mode="json")
    stream = {key: value for key, value in flatten({"stream": said}).items() if key not in left_out}
    stream |= {f"protocol.{key}": value for key, value in protocol.items() if usual.get(key) != value}
    return _overrides({}, stream)


def _test_file(name: str, stream: Path) -> str:
    """Return where the test file of a record lies, of which it says only the name: beside the stream's file, or here.

    Raises `DataError` where it is in neither place.
    """
    places = (stream.parent / name, Path(name))
    found = next((place for place in places if place.exists()), None)
    if found is None:
        rule = f"the record's test file must be beside {stream} or in the current folder, and is in neither"
        raise DataError(f"{name}: {rule}.", f"Copy it to {places[0]}.")
    return str(found)


def _presented(record: Record) -> dict[str, Any]:
    """Return the values of `[protocol]` that the record says."""
    space = terms.stream(record.footer).get("output_space")
    usual = {"task-il": "task"}.get(record.scenario, "all")
    said = {**record.terms, **record.evaluation, **({} if space == usual else {"output_space": space})}
    return {key: value for key, value in said.items() if value is not None}


def _of_file(record: Record) -> DeclaredStream:
    """Return the record's stream as it says of itself: the data file that it is cut from is not opened."""
    said = {key: value for key, value in terms.stream(record.footer)["stream"].items() if value is not None}
    table = {"title": record.stream, "stream": said, "protocol": _presented(record)}
    spec = stream_spec(table, f"stream {record.stream}", UNRESOLVED)
    (name,) = record.footer.data
    return DeclaredStream(record.stream, spec, Recorded(name=name, checksum_said=record.footer.data[name]))


def _foreign(record: Record, model: bool, stream: bool) -> set[str]:
    """Return what a record names that is none of the package's own recipes, streams and extensions. Where the user gives the
    `model`, that stands for all that its learner names, and a `stream` for all that its stream does.
    """
    said = record.footer
    streams = {*catalog.names("stream"), *([record.stream] if _named(record)[0] != record.stream else [])}
    of_model = set() if model else ({record.model} - set(catalog.names("model"))) | _of_others(said.learner_spec)
    return of_model | (set() if stream else ({record.stream} - streams) | _of_others(said.stream_spec))


def _of_others(declared: Any) -> set[str]:
    """Return what among the texts of a declaration names an extension that is not the package's own."""
    registered = {name for group in _GROUPS for name in catalog.registered(group) if not catalog.built_in(group, name)}
    return {text for text in _texts(declared) if ":" in text or text in registered}


def _texts(declared: Any) -> Iterator[str]:
    """Yield every text among the values of a declaration."""
    if isinstance(declared, str):
        yield declared
    elif isinstance(declared, Mapping | list | tuple):
        for value in declared.values() if isinstance(declared, Mapping) else declared:
            yield from _texts(value)


def seeds_text(seeds: Sequence[int]) -> str:
    """Return the seeds as `--seeds` takes them."""
    if list(seeds) == list(range(len(seeds))):
        return str(len(seeds))
    return ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")


def _settable(
    stream: Mapping[str, Any], terms: Mapping[str, Any], evaluation: Mapping[str, Any], learner: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what was declared by the keys that `--set` takes."""
    protocol = {"output_space": stream.get("output_space"), **terms, **evaluation}
    batch = protocol.pop("batch", None)
    declared = {"learner": learner.get("learner", {}), "presents": learner.get("presents"), "batch": batch}
    return flatten({"stream": stream.get("stream", {}), "protocol": protocol, **declared})


def _overrides(today: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, str]:
    """Return the `--set` values that turn what is declared today into what was recorded: of an inner table of another kind all,
    as nothing of the kind before stays in it.
    """
    differing = {key for key, value in then.items() if today.get(key) != value}
    anew = tuple(key.removesuffix("kind") for key in differing if key.endswith(".kind") and key.count(".") > 1)
    changed = {key: NONE if value is None else value for key, value in then.items() if key in differing or key.startswith(anew)}
    return {
        key.replace(_OPTIONS, "learner."): value if isinstance(value, str) else json.dumps(value)
        for key, value in changed.items()
    }


def _remark(record: Record, planned: Plan) -> str:
    if planned.fingerprint == record.fingerprint:
        return "Same fingerprint with this version: the same numbers, to rounding."
    then, now = record.footer, planned.describe()
    parts = {
        "protocol_version": "the protocol",
        "stream_digest": "the stream's declaration",
        "data": "the data",
        "learner_spec": "the learner's declaration",
        "terms": "the terms",
        "evaluation": "how it is measured",
        "code": "the code that runs",
    }
    recorded = {key: getattr(then, key) for key in parts} | {"terms": record.terms, "evaluation": record.evaluation}
    recorded["stream_digest"] = record.stream_digest
    differing = [text for key, text in parts.items() if stated(recorded[key]) != stated(now[key])]
    commit = then.environment.commit
    where = f" It was made at commit {commit[:12]}." if commit else ""
    return f"Another fingerprint with this version: {', '.join(differing) or 'something'} changed since.{where}"
