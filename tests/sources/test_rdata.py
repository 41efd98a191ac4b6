from __future__ import annotations

import lzma
import struct

import numpy as np
import pytest
from data_frames import HEADER, Writer, saved

from nlbench.sources.rdata import table


def test_numbers_and_factors_come_out_in_the_order_of_the_frame() -> None:
    columns = table(
        lzma.compress(saved({"kind": ([2, 1, 2], ["früh", "spät"]), "size": [1.5, -2.0, 3.0], "other": ([1], ["x"])}))
    )
    assert list(columns) == ["kind", "size", "other"]
    assert (columns["kind"].values.tolist(), columns["kind"].levels) == ([1, 0, 1], ("früh", "spät"))
    np.testing.assert_array_equal(columns["size"].values, [1.5, -2.0, 3.0])
    assert columns["size"].values.dtype == np.float64


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"RDX3\nX\n" + bytes(12), "must be a file of R's format 2"),
        (HEADER + struct.pack(">i", 2 | 0x400) + Writer().tag("f") + struct.pack(">i", 3), "holds an object of type 3"),
    ],
)
def test_what_is_no_data_frame_is_refused(content: bytes, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        table(lzma.compress(content))
