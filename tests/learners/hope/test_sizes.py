from __future__ import annotations

import pytest

from nlbench.learners.hope import sizes


def test_widths_grow_with_the_two_thirds_power_of_the_numbers_in_a_sample():
    assert [sizes.width("image", n) for n in (64, 784)] == [688, 3656]
    assert [sizes.width("vector", n) for n in (64, 256)] == [2000, 3024]
    assert [sizes.width(kind, n) for kind in ("vector", "features") for n in (2, 16)] == [sizes.LEAST] * 4


@pytest.mark.parametrize("side", range(5, 40))
def test_kernels_leave_whole_places_of_the_grid(side):
    assert (side - sizes.kernel(side) + 1) % sizes.GRID == 0
    assert 3 <= sizes.kernel(side) <= 5


def test_no_key_is_wider_than_the_most_features():
    assert sizes.width("image", 10_000) == sizes.width("features", 256) == sizes.MOST


def test_levels_have_the_widths_that_were_measured_at_28_by_28():
    assert sizes.levels(784) == (1000, 500)
    assert sizes.has_levels("vector", 784, "domain-il")
    assert not any(
        [
            sizes.has_levels("image", 784, "domain-il"),
            sizes.has_levels("vector", 784, "class-il"),
            sizes.has_levels("vector", 256, "domain-il"),
        ]
    )
