"""The checksum of a whole record file, kept in the file itself: no bit of it can change unseen.

It is a fact of the Parquet footer beside the metadata: the SHA-256 of all bytes of the file, with zeros for its own.
Whoever rewrites a record may seal it anew: the seal tells damage, not forgery.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

from nlbench.errors import RecordError

KEY: Final = "nlbench.sha256"
EMPTY: Final = "0" * 64
_FIELD: Final = b"\x18" + bytes([len(KEY)]) + KEY.encode() + b"\x18\x40"  # a fact's start in Thrift's compact form


def sealed(content: bytes) -> bytes:
    """Return a Parquet file with its checksum filled in, where it holds EMPTY under KEY."""
    place = _place(content)
    if place is None:
        raise ValueError(f"the file has no fact {KEY}")
    return content[:place] + _checksum(content, place).encode() + content[place + len(EMPTY) :]


def is_sealed(content: bytes, path: Path) -> bool:
    """Return whether a file has a checksum. Raises RecordError, naming `path`, where it is not that of the file."""
    place = _place(content)
    if place is None:
        return False
    if content[place : place + len(EMPTY)] != _checksum(content, place).encode():
        raise RecordError(
            f"{path}: is damaged, or was changed after it was written: its checksum is another.",
            "Copy it again from where it was written, or delete it: the same command makes it anew.",
        )
    return True


def _place(content: bytes) -> int | None:
    """Return where the checksum starts; None where there is none."""
    found = content.rfind(_FIELD, max(0, len(content) - 8 - int.from_bytes(content[-8:-4], "little")))
    return found + len(_FIELD) if found >= 0 and found + len(_FIELD) + len(EMPTY) <= len(content) else None


def _checksum(content: bytes, place: int) -> str:
    view = memoryview(content)
    digest = sha256(view[:place])
    digest.update(EMPTY.encode())
    digest.update(view[place + len(EMPTY) :])
    return digest.hexdigest()
