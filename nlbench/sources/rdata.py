"""Tables saved by R: the part of its serialisation that data frames of numbers and factors need.

Source of the format: R Internals, section 1.8 (serialization formats), and section 1.1.1 (SEXPTYPEs), XDR form.
"""

from __future__ import annotations

import lzma
import struct
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SYMBOL, PAIRS, CHARACTERS, LOGICAL, INTEGER, REAL, STRINGS, VECTOR = 1, 2, 9, 10, 13, 14, 16, 19
NIL, REFERENCE = 254, 255
HAS_ATTRIBUTES, HAS_TAG = 0x200, 0x400
NUMBERS: Final = {LOGICAL: ">i4", INTEGER: ">i4", REAL: ">f8"}


@dataclass(frozen=True)
class Column:
    """A column of a data frame: numbers, or the places of its values among the levels of a factor, from 0."""

    values: NDArray[Any]
    levels: tuple[str, ...] = ()


def table(content: bytes) -> dict[str, Column]:
    """Return the columns of the one data frame in a file that R saved (`.rda`, packed with xz), by name in their order.

    Raises ValueError for what is none.
    """
    raw = lzma.decompress(content)
    if raw[:7] != b"RDX2\nX\n":
        raise ValueError("must be a file of R's format 2 in XDR form")
    saved = _Reader(raw, place=7 + 3 * 4).item()
    (frame,) = saved.values()
    names = frame.attributes["names"].values
    return {name: _column(value) for name, value in zip(names, frame.values, strict=True)}


def _column(vector: _Vector) -> Column:
    if "levels" not in vector.attributes:
        return Column(vector.values)
    return Column(vector.values - 1, tuple(vector.attributes["levels"].values))


@dataclass
class _Vector:
    values: Any
    attributes: dict[str, Any]


@dataclass
class _Reader:
    raw: bytes
    place: int
    symbols: list[str] = field(default_factory=list)

    def item(self) -> Any:
        """Read one object: None, a name, a string, a dict of tagged objects or a vector with its attributes."""
        flags = self._integer()
        kind = flags & 0xFF
        if kind == NIL:
            return None
        if kind == REFERENCE:
            return self.symbols[(flags >> 8 or self._integer()) - 1]
        if kind == SYMBOL:
            self.symbols.append(self.item())
            return self.symbols[-1]
        if kind == CHARACTERS:
            length = self._integer()
            return None if length < 0 else self._take(length).decode()
        if kind == PAIRS:
            return self._pairs(flags)
        values: Any
        if kind in NUMBERS:
            length = self._integer()
            values = np.frombuffer(self._take(length * np.dtype(NUMBERS[kind]).itemsize), NUMBERS[kind]).astype(NUMBERS[kind][1:])
        elif kind in (STRINGS, VECTOR):
            values = [self.item() for _ in range(self._integer())]
        else:
            raise ValueError(f"holds an object of type {kind}, which no data frame of numbers and factors has")
        return _Vector(values, (self.item() or {}) if flags & HAS_ATTRIBUTES else {})

    def _pairs(self, flags: int) -> dict[str, Any]:
        """Read a list of pairs; each names its value."""
        if flags & HAS_ATTRIBUTES:
            self.item()
        tag = self.item() if flags & HAS_TAG else ""
        return {tag: self.item(), **(self.item() or {})}

    def _integer(self) -> int:
        return int(struct.unpack(">i", self._take(4))[0])

    def _take(self, length: int) -> bytes:
        self.place += length
        return self.raw[self.place - length : self.place]
