"""What a declaration breaks, one line a rule: `file: table.key: rule, got value`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, get_args

from pydantic import ValidationError

from nlbench.specs.kinds import KindOf
from nlbench.specs.model import NONE, Closed, Strict

_NULLS: Final = ("", "None", "null")
"""What other languages call nothing."""


def problems(error: ValidationError, place: str, model: type[Strict], values: Any = None) -> list[str]:
    """Return one line per broken rule of a validation error; `values` is what was validated, for the names that are near."""
    lines = []
    for item in error.errors(include_url=False):
        if item["type"] == "too_short" and item["ctx"]["actual_length"] < len(item["input"]):
            continue  # of what it has, each item that breaks a rule is told
        table, path = _place(model, values, item["loc"])
        key = ".".join(path)
        if item["type"] == "extra_forbidden":
            meant = _inside(table, path) or near(path[-1], list(table.model_fields), all_else=True)
            lines.append(f"{place}: {key}: is not a known key{meant}, got {shown(item['input'])}")
        elif item["type"] == "kind_unknown":
            ctx = item["ctx"]
            lines.append(f"{place}: {key}.kind: {item['msg']}{near(ctx['kind'], ctx['names'])}, got {shown(ctx['kind'])}")
        elif item["type"] == "kind_missing":
            lines.append(f"{place}: {key}.kind: {item['msg']}")
        elif item["type"] == "union_tag_invalid":
            kinds = item["ctx"]["expected_tags"].replace("'", "")
            lines.append(f"{place}: {key}.kind: must be one of {kinds}, got {shown(item['input'].get('kind'))}")
        elif item["type"] == "union_tag_not_found":
            lines.append(f"{place}: {key}.kind: is required")
        elif item["type"] == "missing":
            lines.append(f"{place}: {key}: is required")
        elif item["type"] == "value_error":
            # a rule between keys of one table: its message starts with the key it blames
            lines.append(f"{place}: {key}{'.' if key else ''}{item['msg'].removeprefix('Value error, ')}")
        else:
            rule = re.sub("^(Input|String|List|Tuple) should", "must", item["msg"])
            rule = rule.partition(" or instance of ")[0].partition(" after validation, not ")[0]
            if item["input"] in _NULLS and issubclass(table, Closed) and table.may_be_unset(key.rpartition(".")[2]):
                rule += f", or {NONE}"
            lines.append(f"{place}: {key or 'file'}: {rule}, got {shown(item['input'])}")
    return lines


def _inside(table: type[Strict], path: Sequence[str]) -> str:
    """Return " (did you mean …?)" with the key of a table in this one that is called as the last part of a path in it; empty if
    there is none.
    """
    *outer, key = path
    found = (
        f" (did you mean {'.'.join((*outer, name, key))}?)"
        for name, field in table.model_fields.items()
        if any(key in config.model_fields for config in _configs(field.annotation))
    )
    return "" if key in ("kind", "name") else next(found, "")


def near(name: str, known: Sequence[str], *, all_else: bool = False) -> str:
    """Return " (did you mean …?)" with the known names nearest to one; where none is near nothing, or with `all_else` all."""
    if found := get_close_matches(name, known, n=2, cutoff=0.5):
        return f" (did you mean {' or '.join(found)}?)"
    return f" (known: {', '.join(known)})" if all_else and known else ""


def shown(value: Any) -> str:
    """Return a value as an error shows it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _place(model: type[Strict], values: Any, loc: Sequence[int | str]) -> tuple[type[Strict], list[str]]:
    """Return the config that the last key of a place belongs to, and the place as the file writes it."""
    table, path = model, []
    alternatives: list[type[Strict]] = []
    for number, part in enumerate(loc):
        last = number + 1 == len(loc) and part in table.model_fields
        if isinstance(values, Mapping) and part == values.get("kind") and part not in values and not last:
            continue  # the kind by which pydantic tells alternatives apart, which is no key
        path.append(str(part))
        field = table.model_fields.get(str(part)) if isinstance(part, str) else None
        inside = isinstance(values, Mapping) or (isinstance(values, Sequence) and isinstance(part, int) and part < len(values))
        values = (values.get(part) if isinstance(values, Mapping) else values[part]) if inside else None
        if field is not None:
            kind = values.get("kind") if isinstance(values, Mapping) else None
            chosen = [found for mark in field.metadata if isinstance(mark, KindOf) and (found := mark.config(kind))]
            alternatives = [*chosen, *_configs(field.annotation)]
            table = next((each for each in alternatives if _is_kind(each, kind)), table)
        elif isinstance(part, int) and isinstance(values, Mapping):
            kind = values.get("kind")
            table = next((each for each in alternatives if _is_kind(each, kind)), table)
    return table, path


def _configs(annotation: Any) -> Iterator[type[Strict]]:
    """Yield the configs that a field may hold, those inside of tuples included."""
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        yield annotation
    for part in get_args(annotation):
        yield from _configs(part)


def _is_kind(config: type[Strict], kind: object) -> bool:
    field = config.model_fields.get("kind")
    return field is None or kind is None or kind in get_args(field.annotation) or field.annotation is str
