"""A space is lists and ranges; the grid is tried where it fits, and a draw is the same in every search."""

from __future__ import annotations

import pytest

from nlbench.errors import NlbenchError
from nlbench.tune.space import Range, candidates, drawn, parsed

SPACE = {"learner.rate": ["0.001", "0.3"], "learner.hidden": ["[8]", "[16]"]}


def test_the_grid_is_tried_where_it_fits_and_otherwise_a_fixed_part_of_it() -> None:
    grid = candidates(SPACE, 4)
    rates, hidden = SPACE["learner.rate"], SPACE["learner.hidden"]
    assert grid == [{"learner.rate": rate, "learner.hidden": widths} for rate in rates for widths in hidden]
    part = candidates(SPACE, 3)
    assert len(part) == 3
    assert part == candidates(SPACE, 3)
    assert all(point in grid for point in part)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.1,0.3", ["0.1", "0.3"]),
        ("[64],[64, 64]", ["[64]", "[64, 64]"]),
        ("16..256", Range(16, 256, log=False, whole=True)),
        ("0..0.9", Range(0, 0.9, log=False, whole=False)),
        ("log:1e-3..1", Range(1e-3, 1, log=True, whole=False)),
    ],
)
def test_what_is_searched_of_a_key_is_a_list_or_a_range(text: str, found: object) -> None:
    assert parsed(text) == found
    if isinstance(found, Range):
        assert parsed(str(found)) == found


@pytest.mark.parametrize("text", ["3..3", "2..1", "log:0..1"])
def test_a_range_without_an_inside_is_refused(text: str) -> None:
    with pytest.raises(NlbenchError, match=r"a range goes up, and one of logarithms from above 0"):
        parsed(text)


def test_numbers_of_a_range_lie_in_it_and_are_of_its_kind() -> None:
    rates, widths = Range(1e-4, 1.0, log=True, whole=False), Range(16, 256, log=False, whole=True)
    assert [rates.at(share) for share in (0.0, 0.5, 1.0)] == ["0.0001", "0.01", "1"]
    assert [widths.at(share) for share in (0.0, 0.5, 1.0)] == ["16", "136", "256"]
    points = [drawn({"learner.rate": rates, "learner.width": widths, **SPACE}, number) for number in range(200)]
    assert points[7] == drawn({"learner.rate": rates, "learner.width": widths, **SPACE}, 7)
    assert {point["learner.hidden"] for point in points} == {"[8]", "[16]"}


def test_half_of_the_draws_of_logarithms_lie_below_their_middle() -> None:
    numbers = [float(drawn({"learner.rate": Range(1e-4, 1.0, log=True, whole=False)}, n)["learner.rate"]) for n in range(400)]
    assert all(1e-4 <= number <= 1.0 for number in numbers)
    assert 160 < sum(number < 0.01 for number in numbers) < 240
