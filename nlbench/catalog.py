"""A name or a path -> the file that declares it, in a checkout or in an installed wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from nlbench.errors import NlbenchError, UnknownNameError

Kind = Literal["stream", "model"]

_PACKAGE: Final = Path(__file__).resolve().parent
ROOT: Final = _PACKAGE / "_catalog" if (_PACKAGE / "_catalog").is_dir() else _PACKAGE.parent
"""Holds `tasks/`, `baselines/` and `results/reference/`: the wheel's own copy, or the checkout."""

FOLDERS: Final[dict[Kind, str]] = {"stream": "tasks", "model": "baselines"}
REFERENCE: Final = ROOT / "results" / "reference"


def names(kind: Kind) -> list[str]:
    """Return the declared names of one kind, sorted."""
    return sorted(path.stem for path in (ROOT / FOLDERS[kind]).glob("*.toml"))


def find(kind: Kind, name: str) -> Path:
    """Return the file of a declared name, or the path itself where one is given. Raises `UnknownNameError` with the nearest
    names.
    """
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise NlbenchError(f"{name}: there is no such {kind} file.", f"`nlbench list {kind}s` shows the declared names.")
        return path
    path = ROOT / FOLDERS[kind] / f"{name}.toml"
    if not path.is_file():
        raise UnknownNameError(kind, name, names(kind))
    return path
