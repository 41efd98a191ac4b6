from __future__ import annotations

import pytest
import torch

from nlbench.learners.hope.gram import STRIPS, Gram


@pytest.mark.parametrize("width", [1, 5, 16, 45, 130])
def test_it_is_the_sum_of_outer_products_whatever_the_width(width):
    rows = [torch.randn(2, 7, width, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(3)]
    made = Gram(width, torch.zeros(2, dtype=torch.float64))
    for each in rows:
        made.add(each)
    every = torch.cat(rows, 1)
    torch.testing.assert_close(made.of(slice(0, 2)), every.mT @ every)
    torch.testing.assert_close(made.of(slice(1, 2)), every[1:].mT @ every[1:])


def test_little_more_than_half_is_stored():
    made = Gram(160, torch.zeros(3))
    assert made.numel() == 3 * 160**2 * (1 + 1 / STRIPS) / 2
