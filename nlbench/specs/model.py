"""The base of every declaration: frozen, closed, strict, where `none` unsets a key; and the canonical digest of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator

NONE: Final = "none"
"""What a key is given that may hold nothing, to hold nothing: TOML has no null."""


class Strict(BaseModel):
    """A frozen table that accepts no unknown key and no value of another type, no infinity and no NaN.

    Its rules are compiled where one is first made: a command meets few of all declarations there are.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False, defer_build=True
    )


class Closed(Strict):
    """A strict table that people write: `none` unsets a key that may hold nothing."""

    @model_validator(mode="before")
    @classmethod
    def _unset(cls, said: Any) -> Any:
        if not isinstance(said, Mapping):
            return said
        unset = [key for key, value in said.items() if isinstance(value, str) and value == NONE and cls.may_be_unset(key)]
        return {**said, **dict.fromkeys(unset)} if unset else said

    @classmethod
    def may_be_unset(cls, key: str) -> bool:
        """Return whether `none` unsets a key: it may hold nothing, and no text that could be meant."""
        field = cls.model_fields.get(key)
        choices = set() if field is None else _choices(field.annotation)
        return NoneType in choices and not choices & {str, NONE}


def _choices(annotation: Any) -> set[Any]:
    """Return what a value may be, by its annotation: types, and the values of a Literal."""
    made, parts = get_origin(annotation), get_args(annotation)
    if made is Literal:
        return set(parts)
    if made is Annotated:
        return _choices(parts[0])
    return set().union(*map(_choices, parts)) if made in (Union, UnionType) else {annotation}


def canonical(value: BaseModel | Mapping[str, Any]) -> str:
    """Return the one JSON text of a declaration: sorted keys, no spaces, shortest floats."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(*parts: BaseModel | Mapping[str, Any] | str) -> str:
    """Return 16 hexadecimal digits that identify the parts by content."""
    text = "\x00".join(part if isinstance(part, str) else canonical(part) for part in parts)
    return blake2b(text.encode(), digest_size=8).hexdigest()
