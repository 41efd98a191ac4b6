"""Letters of axes: one size each, one dtype and device for all; who disagrees is named."""

from __future__ import annotations

import pytest
import torch

from nlbench.kernels.shapes import check_shapes


def test_sizes_by_letter_and_what_is_none_is_skipped():
    assert check_shapes("op", a=(torch.zeros(2, 3), "S K"), b=(None, "S K"), c=(torch.zeros(3, 4), "K V")) == {
        "S": 2,
        "K": 3,
        "V": 4,
    }


@pytest.mark.parametrize(
    ("other", "axes", "message"),
    [
        (torch.zeros(4), "S K", r"op: b must have axes \(S, K\), got shape \(4,\)"),
        (torch.zeros(2, 5), "S K", r"op: axis K of b \(2, 5\) must be 3"),
        (torch.zeros(2, 3, dtype=torch.float64), "S K", "op: b is torch.float64 on cpu, a is torch.float32 on cpu"),
    ],
)
def test_who_disagrees_is_named(other, axes, message):
    with pytest.raises(ValueError, match=message):
        check_shapes("op", a=(torch.zeros(2, 3), "S K"), b=(other, axes))
