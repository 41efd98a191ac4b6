"""What is taken lies where room was made, in order, and what stays is as it was, whichever way it is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nlbench.learners import writing


@pytest.mark.parametrize("write", [writing.by_place, writing.by_shape])
@pytest.mark.parametrize("shared", [False, True])
def test_what_is_taken_lies_in_the_free_places_of_its_seed_in_order(write: Callable[..., None], shared: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    for free_places in range(5):
        free, taken = (torch.zeros(3, size, dtype=torch.bool) for size in (4, 6))
        for mask in (free, taken):
            for row in mask:
                row[torch.randperm(len(row), generator=generator)[:free_places]] = True
        field = -torch.ones(3, 4, 2)
        value = torch.rand(1 if shared else 3, 6, 2, generator=generator)
        expected = field.clone()
        for seed in range(3):
            expected[seed, free[seed]] = value.expand(3, -1, -1)[seed, taken[seed]]
        write([(field, value)], free, taken)
        assert torch.equal(field, expected)
