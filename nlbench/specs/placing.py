"""Where files of a user's own lie that a declaration names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlbench.escaping import name_fault


def code_files(said: Mapping[str, Any], table: str) -> dict[str, str]:
    """Return every `./folder/file.py:Name` that a table names, by dotted key."""
    found: dict[str, str] = {}
    for key, value in said.items():
        if isinstance(value, Mapping):
            found |= code_files(value, f"{table}.{key}")
        elif isinstance(value, str) and ".py:" in value:
            found[f"{table}.{key}"] = value
    return found


def from_here(name: str) -> str:
    """Return where a file of this name lies from the present folder; empty where it lies outside, which may name a person."""
    place, here = Path(os.path.abspath(name)), Path.cwd()
    if not place.is_relative_to(here):
        return ""
    said = f"./{place.relative_to(here).as_posix()}"
    return "" if name_fault(said) else said
