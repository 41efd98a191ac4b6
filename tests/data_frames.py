"""Data frames as R saves them, for tests of what reads them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

HEADER = b"RDX2\nX\n" + struct.pack(">3i", 2, 0x40003, 0x20300)


def _int(*values: int) -> bytes:
    return struct.pack(f">{len(values)}i", *values)


def _characters(text: str) -> bytes:
    return _int(9 | 0x40000, len(text.encode())) + text.encode()


def _strings(values: Sequence[str]) -> bytes:
    return _int(16, len(values)) + b"".join(map(_characters, values))


class Writer:
    """Writes a data frame as R does, names by reference from their second use on."""

    def __init__(self) -> None:
        self.symbols: list[str] = []

    def tag(self, name: str) -> bytes:
        if name in self.symbols:
            return _int(255 | (self.symbols.index(name) + 1) << 8)
        self.symbols.append(name)
        return _int(1) + _characters(name)

    def pairs(self, values: Mapping[str, bytes]) -> bytes:
        return b"".join(_int(2 | 0x400) + self.tag(name) + value for name, value in values.items()) + _int(254)

    def factor(self, values: Sequence[int], levels: Sequence[str]) -> bytes:
        return _int(13 | 0x300, len(values), *values) + self.pairs({"levels": _strings(levels), "class": _strings(["factor"])})

    def frame(self, columns: Mapping[str, object]) -> bytes:
        parts = []
        for value in columns.values():
            if isinstance(value, tuple):
                parts.append(self.factor(*value))
            else:
                parts.append(_int(14, len(value)) + struct.pack(f">{len(value)}d", *value))  # type: ignore[arg-type]
        content = _int(19 | 0x300, len(columns)) + b"".join(parts)
        return content + self.pairs({"names": _strings(list(columns)), "class": _strings(["data.frame"])})


def saved(columns: Mapping[str, object]) -> bytes:
    writer = Writer()
    return HEADER + _int(2 | 0x400) + writer.tag("Frame") + writer.frame(columns) + _int(254)
