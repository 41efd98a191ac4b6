"""TOML text -> frozen models; every broken rule of a file is reported at once as `file: table.key: rule, got value`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from nlbench.errors import NlbenchError, SpecError
from nlbench.escaping import printable
from nlbench.specs.kinds import UNRESOLVED
from nlbench.specs.learners import LearnerSpec
from nlbench.specs.problems import near, problems, shown
from nlbench.specs.reading import COLUMNS
from nlbench.specs.recipes import TERMS, merged, mistyped, tables
from nlbench.specs.streams import StreamSpec

Table = dict[str, Any]

MOST_BYTES: Final = 2**18  # of a declaration's file
DEEPEST: Final = 16  # tables and lists in one another
# a dotted key of many parts, over which tomllib would take minutes
_DOTTED: Final = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEEPEST},}}""")

RECIPE_KEYS = ("title", "role", "presents", *TERMS, "learner", "on", "provenance", "search")
"""The tables and keys of a recipe file."""


def read_table(path: Path) -> Table:
    """Return the file's TOML as nested dicts. Raises `SpecError` with the line of a syntax error, and for a file that is larger,
    or nested deeper, than a declaration may be.
    """
    try:
        if path.exists() and not path.is_file():
            raise NlbenchError(f"{path}: is no file.")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise SpecError([f"{path}: must have at most {MOST_BYTES:,} bytes"])
        table = _parsed(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise SpecError([f"{path}: not TOML: {printable(str(error))}"]) from None
    except UnicodeDecodeError:
        raise SpecError([f"{path}: not UTF-8 text"]) from None
    except OSError as error:
        raise NlbenchError(f"{path}: cannot be read: {error.strerror}.") from None
    except _TooMuchError as error:
        raise SpecError([f"{path}: {error}"]) from None
    return table


class _TooMuchError(Exception):
    """TOML that is nested too deep or holds a number of too many digits."""


def _parsed(text: str) -> Table:
    if _DOTTED.search(text):
        raise _TooMuchError(f"tables must be nested at most {DEEPEST} deep")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise _TooMuchError(f"tables must be nested at most {DEEPEST} deep") from None
    except ValueError as error:  # Python reads no integer of more than 4,300 digits
        raise _TooMuchError(f"a number cannot be read: {str(error).partition(';')[0]}") from None
    layer: list[Any] = [table]
    for _ in range(DEEPEST):
        layer = [
            item for one in layer for item in (one.values() if isinstance(one, dict) else one) if isinstance(item, dict | list)
        ]
    if layer:
        raise _TooMuchError(f"tables must be nested at most {DEEPEST} deep")
    return table


def apply_overrides(table: Table, overrides: Mapping[str, str], tables: Sequence[str]) -> Table:
    """Return a copy of `table` with dotted keys replaced, for those whose first part is in `tables`; values are TOML, or
    plain text if they are not; a column is named as it is called, even `0`. Another `kind` of a table in the first ones, such as
    `learner.optimizer.kind`, takes nothing of what `table` says of the kind before.
    """
    result = deepcopy(table)
    chosen = {dotted: text for dotted, text in overrides.items() if dotted.partition(".")[0] in tables}
    for dotted, text in chosen.items():
        *path, key = dotted.split(".")
        if key == "kind" and len(path) > 1:
            before = _table(result, path, dotted)
            if before.get("kind") != toml_value(text):
                before.clear()
    for dotted, text in chosen.items():
        *path, key = dotted.split(".")
        value = toml_value(text)
        _table(result, path, dotted)[key] = text if dotted in COLUMNS and not isinstance(value, str | list) else value
    return result


def _table(table: Table, path: Sequence[str], dotted: str) -> Table:
    """Return the table at a path, which is made where there is none."""
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise SpecError([f"--set {dotted}: {part} is a value, not a table"])
    return table


def toml_value(text: str) -> Any:
    """Return the text read as a TOML value; text that is not one stands for itself, so `--set stream.scenario=task-il` needs
    no quotes.
    """
    try:
        return _parsed(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, _TooMuchError):
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


def stream_spec(table: Table, place: str, context: Mapping[str, Any] | None = None) -> StreamSpec:
    """Return the stream that a table declares; `place` names it in errors, `context` is pydantic's."""
    try:
        return StreamSpec.model_validate(table, context=context)
    except ValidationError as error:
        raise SpecError(problems(error, place, StreamSpec, table)) from None


def learner_spec(table: Table, place: str, *, name: str) -> LearnerSpec:
    """Return the recipe that a table declares, its `[on]` tables left aside; `place` names it in errors."""
    found = [
        f"{place}: {key}: is not a known key{near(key, RECIPE_KEYS)}, got {shown(value)}"
        for key, value in table.items()
        if key not in RECIPE_KEYS
    ]
    learner, on = table.get("learner", {}), table.get("on", {})
    if not isinstance(learner, dict) or not isinstance(on, dict) or not all(isinstance(value, dict) for value in on.values()):
        raise SpecError([*found, f"{place}: learner and on.<stream> must be tables"])
    values: Table = {
        **{key: table[key] for key in ("title", "role", "presents", *TERMS, "provenance") if key in table},
        "learner": learner,
    }
    try:
        spec = LearnerSpec.model_validate({**values, "name": name})
    except ValidationError as error:
        found += problems(error, place, LearnerSpec, values)
    if found:
        raise SpecError(found)
    return spec


def validate(table: Table, path: Path, streams: Collection[str] = ()) -> str:
    """Return "stream" or "learner": what the table of a file declares, after checking all of it, each `[on."<stream>"]` table
    included, whose stream must not be a mistyped one of `streams`. Nothing that it names is opened or imported.
    """
    if "stream" in table:
        stream_spec(table, str(path), UNRESOLVED)
        return "stream"
    found = mistyped(table, streams, str(path))
    for stream in (None, *tables(table)):
        place = str(path) if stream is None else f'{path}: on."{stream}"'
        try:
            learner_spec(table if stream is None else merged(table, [stream]), place, name=path.stem)
        except SpecError as error:
            found += [problem for problem in error.problems if problem.replace(place, str(path)) not in found]
    if found:
        raise SpecError(found)
    return "learner"
