"""The base of every declaration: frozen, closed, strict; and the canonical digest of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from pydantic import BaseModel, ConfigDict


class Closed(BaseModel):
    """A frozen table that accepts no unknown key and no value of another type, no infinity and no NaN.

    Its rules are compiled where one is first made: a command meets few of all declarations there are.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False, defer_build=True
    )


def canonical(value: BaseModel | Mapping[str, Any]) -> str:
    """Return the one JSON text of a declaration: sorted keys, no spaces, shortest floats."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(*parts: BaseModel | Mapping[str, Any] | str) -> str:
    """Return 16 hexadecimal digits that identify the parts by content."""
    text = "\x00".join(part if isinstance(part, str) else canonical(part) for part in parts)
    return blake2b(text.encode(), digest_size=8).hexdigest()
