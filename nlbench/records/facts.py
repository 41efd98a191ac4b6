"""Declarations and other metadata as flat facts, and where two sets of facts differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Difference(NamedTuple):
    """One fact that differs; what one side lacks is None."""

    field: str
    first: Any
    second: Any

    def __str__(self) -> str:
        return f"{self.field}: {self.first} / {self.second}"


def flatten(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, keyed by dotted paths; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def stated(declaration: Any) -> Any:
    """Return a declaration, however nested, without the keys that are null: these say nothing, as in a declaration that is older
    than the key.
    """
    if isinstance(declaration, Mapping):
        return {key: stated(value) for key, value in declaration.items() if value is not None}
    return [stated(value) for value in declaration] if isinstance(declaration, list | tuple) else declaration


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Return the facts in which two nested tables differ, in order of their paths."""
    a, b = flatten(first), flatten(second)
    return [
        Difference(field, a.get(field), b.get(field)) for field in sorted(a.keys() | b.keys()) if a.get(field) != b.get(field)
    ]


def varying(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the dotted paths whose value is not the same in all tables, in the order in which they first appear."""
    flat = [flatten(table) for table in tables]
    fields = dict.fromkeys(field for table in flat for field in table)
    return [field for field in fields if any(table.get(field) != flat[0].get(field) for table in flat[1:])]
