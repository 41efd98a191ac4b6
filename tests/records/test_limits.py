"""The limits of a record lie above what runs make, and each is named with what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlbench.errors import RecordError
from nlbench.records import limits

HERE = Path("here.parquet")


def test_a_file_may_be_as_large_as_the_limit() -> None:
    limits.check_size(limits.MOST_BYTES, HERE)
    with pytest.raises(RecordError, match=r"here\.parquet: its size in bytes: must be at most 268,435,456, got 268435457"):
        limits.check_size(limits.MOST_BYTES + 1, HERE)


@pytest.mark.parametrize(
    "text", [b"[" * 32 + b"]" * 32, b'"' + b"[" * 99 + b'"', b"[1e99, " + b"1" * 40 + b"]", b'"' + b"1" * 99 + b'"']
)
def test_metadata_within_the_limits(text: bytes) -> None:
    limits.check_text(text, HERE)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (b"[" * 33 + b"]" * 33, "nested at most 32 deep"),
        (b'"\\\\"' + b"[" * 33, "nested at most 32 deep"),
        (b'["a\\"b", ' + b"1" * 41 + b"]", "at most 40 digits"),
        (b"[1e100]", "below 1e100"),
        (b"[1E+0999]", "below 1e100"),
        (b" " * 2**20 + b" ", "its metadata in bytes"),
    ],
)
def test_metadata_beyond_them(text: bytes, rule: str) -> None:
    with pytest.raises(RecordError, match=rule):
        limits.check_text(text, HERE)
