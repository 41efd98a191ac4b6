"""What needs no GPU of `gpu_products`: sizes of tiles. Products themselves are judged through the ops' cases."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")

from nlbench.kernels.gpu_products import FEW, square_tiles


def test_tiles_are_large_where_there_are_enough_of_them_and_never_larger_than_needed():
    assert square_tiles(FEW, 64, 64) == {"BM": 64, "BN": 64}
    assert square_tiles(1, 64, 64) == {"BM": 32, "BN": 32}
    small = square_tiles(1, 3, 200)
    assert small["BM"] < 32
    assert small["BM"] >= 3
