"""How large a record may be. What a file asks for is looked at before memory is taken for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from nlbench.records.footer import Footer, NotARecordError

MOST_BYTES: Final = 2**28  # of a file, and of its columns once decompressed
MOST_ROWS: Final = 2**21
MOST_CELLS: Final = 2**24  # of the accuracy matrices of all seeds together, measured or not
MOST_METADATA: Final = 2**20  # bytes
DEEPEST: Final = 32  # tables and lists in one another
MOST_DIGITS: Final = 40
_LONG: Final = re.compile(rb"[0-9]{41,}|[0-9][eE]\+?0*[1-9][0-9]{2,}")


def check_size(size: int, path: Path) -> None:
    """Raise NotARecordError for a file of more bytes than a record may have."""
    _at_most("its size in bytes", size, MOST_BYTES, path)


def check_rows(metadata: pq.FileMetaData, path: Path) -> None:
    """Raise NotARecordError for a file of more rows, or of larger columns, than a record may have."""
    _at_most("rows", metadata.num_rows, MOST_ROWS, path)
    sizes = (metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    _at_most("its decompressed size in bytes", sum(sizes), MOST_BYTES, path)


def check_text(text: bytes, path: Path) -> None:
    """Raise NotARecordError for metadata that are longer, or nested deeper, than a record's may be."""
    _at_most("its metadata in bytes", len(text), MOST_METADATA, path)
    if _LONG.search(text) and any(_LONG.search(part) for part in _outside_strings(text)):
        raise NotARecordError(f"{path}: its metadata: numbers must have at most {MOST_DIGITS} digits and be below 1e100.")
    if text.count(b"[") + text.count(b"{") > DEEPEST and _depth(text) > DEEPEST:
        raise NotARecordError(f"{path}: its metadata: must be nested at most {DEEPEST} deep.")


def check_shape(footer: Footer, rows: int, path: Path) -> None:
    """Raise NotARecordError for more tasks than the record has rows, or for matrices that would be too large."""
    _at_most("n_tasks", footer.n_tasks, rows, path, f"its {rows} rows")
    cells = len(footer.seeds) * (footer.n_tasks + 1) * footer.n_tasks
    _at_most("seeds × (n_tasks + 1) × n_tasks", cells, MOST_CELLS, path)


def _at_most(what: str, found: int, limit: int, path: Path, named: str = "") -> None:
    if not 0 <= found <= limit:
        raise NotARecordError(f"{path}: {what}: must be at most {named or f'{limit:,}'}, got {found}.")


def _depth(text: bytes) -> int:
    """Return how deep the tables and lists of JSON stand in one another, strings left out."""
    deepest = depth = 0
    for part in _outside_strings(text):
        for byte in part:
            if byte in b"[{":
                depth += 1
                deepest = max(deepest, depth)
            elif byte in b"]}":
                depth -= 1
    return deepest


def _outside_strings(text: bytes) -> list[bytes]:
    return text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
