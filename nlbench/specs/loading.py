"""TOML text -> frozen models; every broken rule of a file is reported at once as `file: table.key: rule, got value`."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from nlbench.errors import NlbenchError, SpecError
from nlbench.specs.learners import BUILT_IN, ExternalConfig, LearnerSpec
from nlbench.specs.model import Closed
from nlbench.specs.streams import Check, Permuted, Protocol, Rotated, Split, StreamSpec

Table = dict[str, Any]

RECIPE_KEYS = ("title", "presents", "batch", "learner", "on", "provenance", "search")
"""The tables and keys of a recipe file."""

_TABLES: Final[dict[str, type[Closed]]] = {
    "split": Split,
    "permuted": Permuted,
    "rotated": Rotated,
    "protocol": Protocol,
    "check": Check,
}
"""The model of each table of a stream file, by its name or, for `[stream]`, its kind."""


def read_table(path: Path) -> Table:
    """Return the file's TOML as nested dicts. Raises `SpecError` with the line of a syntax error."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise SpecError([f"{path}: not TOML: {error}"]) from None
    except UnicodeDecodeError:
        raise SpecError([f"{path}: not UTF-8 text"]) from None
    except OSError as error:
        raise NlbenchError(f"{path}: cannot be read: {error.strerror}.") from None


def apply_overrides(table: Table, overrides: Mapping[str, str], tables: Sequence[str]) -> Table:
    """Return a copy of `table` with dotted keys replaced, for those whose first part is in `tables`; values are TOML, or
    plain text if they are not.
    """
    result = deepcopy(table)
    for dotted, text in overrides.items():
        parts = dotted.split(".")
        if parts[0] not in tables:
            continue
        target = result
        for part in parts[:-1]:
            target = target.setdefault(part, {})
            if not isinstance(target, dict):
                raise SpecError([f"--set {dotted}: {part} is a value, not a table"])
        target[parts[-1]] = toml_value(text)
    return result


def toml_value(text: str) -> Any:
    """Return the text read as a TOML value; text that is not one stands for itself, so `--set stream.scenario=task-il` needs
    no quotes.
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def listed(text: str) -> list[str]:
    """Return the values of a comma-separated list, each as the text of a TOML value or as plain text: `[64],[64, 64]` are two."""
    if isinstance(toml_value(f"[{text}]"), str):
        return text.split(",")
    values, start = [], ""
    for piece in text.split(","):
        start = f"{start},{piece}" if start else piece
        value = toml_value(f"[{start}]")
        if isinstance(value, list):
            values += [start.strip()] if value else []
            start = ""
    return values


def stream_spec(table: Table, place: str) -> StreamSpec:
    """Return the stream that a table declares; `place` names it in errors."""
    try:
        return StreamSpec.model_validate(table)
    except ValidationError as error:
        raise SpecError(problems(error, place, StreamSpec)) from None


def learner_spec(table: Table, place: str, *, name: str, stream: str | None = None, source_digest: str = "") -> LearnerSpec:
    """Return the recipe as it applies to `stream`: its `[on."<stream>"]` table merged over `[learner]` and the batch."""
    found = [
        f"{place}: {key}: is not a known key{_near(key, RECIPE_KEYS)}, got {_shown(value)}"
        for key, value in table.items()
        if key not in RECIPE_KEYS
    ]
    learner, on = table.get("learner", {}), table.get("on", {})
    if not isinstance(learner, dict) or not isinstance(on, dict) or not all(isinstance(value, dict) for value in on.values()):
        raise SpecError([*found, f"{place}: learner and on.<stream> must be tables"])
    here = on.get(stream, {}) if stream else {}
    kind = learner.get("kind")
    if not isinstance(kind, str):
        raise SpecError(
            [*found, f"{place}: learner.kind: is required: one of {', '.join(sorted(BUILT_IN))}, or package.module:Class"]
        )
    values = {**learner, **{key: value for key, value in here.items() if key != "batch"}}
    config: Closed | None = None
    try:
        config = _config(kind, values, place)
    except ValidationError as error:
        found += problems(error, place, BUILT_IN.get(kind, ExternalConfig), prefix=("learner",))
    except SpecError as error:
        found += error.problems
    outer = {key: table[key] for key in ("title", "presents", "batch", "provenance") if key in table}
    if "batch" in here:
        outer["batch"] = here["batch"]
    try:
        spec = LearnerSpec.model_validate(
            {**outer, "name": name, "learner": config or ExternalConfig(kind=kind), "source_digest": source_digest}
        )
    except ValidationError as error:
        found += problems(error, place, LearnerSpec)
    if found:
        raise SpecError(found)
    return spec


def _config(kind: str, values: Table, place: str) -> Closed:
    if kind in BUILT_IN:
        return BUILT_IN[kind].model_validate(values)
    options = {key: value for key, value in values.items() if key != "kind"}
    if ":" in kind:
        return ExternalConfig(kind=kind, options=options)
    near = _near(kind, sorted(BUILT_IN))
    raise SpecError(
        [f"{place}: learner.kind: must be one of {', '.join(sorted(BUILT_IN))}, or package.module:Class{near}, got {kind!r}"]
    )


def mistyped_streams(on: Mapping[str, Any], known: Collection[str], place: str) -> list[str]:
    """Return one line per `[on."<stream>"]` whose stream is not known but nearly bears a known one's name. Other names are
    streams of the user's own, as are those that hold a known name whole: `split-digits-2`.
    """
    lines = []
    for name in on:
        near = [] if name in known else get_close_matches(name, known, n=1, cutoff=0.85)
        if near and near[0] not in name:
            lines.append(f'{place}: on."{name}": unknown stream {name!r}. Did you mean {near[0]}? If it is your own, rename it.')
    return lines


def validate_file(path: Path, streams: Collection[str] = ()) -> str:
    """Return "stream" or "learner": what the file declares, after checking all of it, each `[on."<stream>"]` table included,
    whose stream must not be a mistyped one of `streams`.
    """
    table = read_table(path)
    if "stream" in table:
        stream_spec(table, str(path))
        return "stream"
    on = table["on"] if isinstance(table.get("on"), dict) else {}
    found = mistyped_streams(on, streams, str(path))
    for stream in (None, *on):
        place = str(path) if stream is None else f'{path}: on."{stream}"'
        try:
            learner_spec(table, place, name=path.stem, stream=stream)
        except SpecError as error:
            found += [problem for problem in error.problems if problem.replace(place, str(path)) not in found]
    if found:
        raise SpecError(found)
    return "learner"


def problems(error: ValidationError, place: str, model: type[Closed], prefix: tuple[str, ...] = ()) -> list[str]:
    """Return one line per broken rule of a validation error."""
    lines = []
    for item in error.errors(include_url=False):
        loc = [str(part) for part in (*prefix, *item["loc"])]
        key = ".".join(part for part in loc if part not in ("split", "permuted", "rotated", "arrays"))
        if item["type"] == "extra_forbidden":
            known = _TABLES.get(loc[-2], model) if len(loc) > 1 else model
            lines.append(
                f"{place}: {key}: is not a known key{_near(loc[-1], list(known.model_fields))}, got {_shown(item['input'])}"
            )
        elif item["type"] == "union_tag_invalid":
            kinds = item["ctx"]["expected_tags"].replace("'", "")
            lines.append(f"{place}: {key}.kind: must be one of {kinds}, got {_shown(item['input'].get('kind'))}")
        elif item["type"] == "union_tag_not_found":
            lines.append(f"{place}: {key}.kind: is required")
        elif item["type"] == "missing":
            lines.append(f"{place}: {key}: is required")
        elif item["type"] == "value_error":
            # a rule between keys of one table: its message starts with the key it blames
            lines.append(f"{place}: {key}{'.' if key else ''}{item['msg'].removeprefix('Value error, ')}")
        else:
            rule = item["msg"].replace("Input should", "must").replace("String should", "must").partition(" or instance of ")[0]
            lines.append(f"{place}: {key or 'file'}: {rule}, got {_shown(item['input'])}")
    return lines


def _near(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=2, cutoff=0.5)
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
