"""The numbers of a site as data: every record as it is, and the leaderboard as JSON and Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from nlbench import escaping
from nlbench.comparison.tables import FIELDS
from nlbench.publishing.board import Board, Item

_NUMBERS: Final = frozenset(
    {"mean", "low", "high", "sd", "chance", "bytes", "seconds", "difference", "difference_low", "difference_high"}
    | {"p", "p_holm", "p_t", "effect", "rank"}
)
_COUNTS: Final = frozenset({"seeds", "pairs", "seeds_to_tell"})
_SCHEMA: Final = pa.schema(
    [
        (name, pa.float64() if name in _NUMBERS else pa.int64() if name in _COUNTS else pa.string())
        for name in ("record", "created", "commit", *FIELDS)
    ]
)


def files(board: Board) -> Iterator[tuple[str, bytes]]:
    """Yield the path within the site and the content of each file of data."""
    for item in board.items:
        for path, content in zip(record_paths(item), item.record.contents, strict=True):
            yield path, content.data
    rows = list(_rows(board))
    yield "data/leaderboard.json", escaping.json_text(json.dumps(rows, indent=1, allow_nan=False, ensure_ascii=False)).encode()
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), sink, compression="zstd", store_schema=False)
    yield "data/leaderboard.parquet", sink.getvalue().to_pybytes()


def record_paths(item: Item) -> list[str]:
    """Return where an item's record lies in the site: one file, or as many as it was read from."""
    several = len(item.record.contents) > 1
    endings = [f".{number}" if several else "" for number in range(1, len(item.record.contents) + 1)]
    return [f"data/records/{item.name}{ending}.parquet" for ending in endings]


def _rows(board: Board) -> Iterator[dict[str, Any]]:
    """Yield one flat row for each learner that counts today and each metric."""
    for group in board.comparison.groups:
        items = board.of(group)
        for row in replace(board.comparison, groups=(group,)).rows():
            item = items[row["learner"]]
            yield {"record": item.name, "created": item.created, "commit": item.commit, **row}
