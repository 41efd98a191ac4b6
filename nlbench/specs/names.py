"""What data files are called."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ENDS: Final = (".npz", ".parquet", ".csv", ".jsonl")
"""How the name of a data file ends that is no folder."""


def called(name: str) -> str:
    """Return what a data file, or a folder of some, is called as a stream: its name, without a file's ending."""
    path = Path(name)
    return (path.stem if path.suffix.lower() in ENDS else path.name) or path.resolve().name
