"""Between Arrow and numpy without `pa.array`, `pa.scalar` and `to_numpy`.

In pyarrow each of those imports pandas, which takes longer than all else that a reader does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa


def numbers(column: pa.ChunkedArray, missing: float) -> np.ndarray:
    """Return a numeric column as int64 or float64, `missing` where it is null."""
    values = _whole(column)
    if not values.null_count:
        return np.from_dlpack(values).astype(np.float64 if pa.types.is_floating(values.type) else np.int64, copy=False)
    filled = np.full(len(values), missing, dtype=np.float64 if pa.types.is_floating(values.type) else np.int64)
    filled[np.from_dlpack(values.is_valid().cast(pa.uint8())).astype(bool)] = np.from_dlpack(values.drop_null())
    return filled


def codes(column: pa.ChunkedArray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return a column of strings as codes (N,) into the distinct strings."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = _whole(encoded.unify_dictionaries())
    return np.from_dlpack(values.indices), tuple(values.dictionary.to_pylist())


def from_numbers(values: Sequence[float | None] | np.ndarray, kind: pa.DataType) -> pa.Array:
    """Return an Arrow array of int32, int64 or float64; None becomes null."""
    dtype = {pa.int32(): np.int32, pa.int64(): np.int64, pa.float64(): np.float64}[kind]
    valid = np.array([value is not None for value in values], dtype=bool)
    data = np.array([0 if value is None else value for value in values], dtype=dtype)
    return pa.Array.from_buffers(kind, len(data), [_bits(valid), pa.py_buffer(data)])


def from_strings(values: Sequence[str]) -> pa.Array:
    """Return an Arrow array of strings."""
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(encoded), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))])


def mask(chosen: np.ndarray) -> pa.Array:
    """Return an Arrow array of booleans."""
    return pa.Array.from_buffers(pa.bool_(), len(chosen), [None, _bits(chosen)])


def _bits(flags: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def _whole(column: pa.ChunkedArray) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
