import pytest

from nlbench.errors import NlbenchError
from nlbench.nested.clocks import check_all_fire, check_periods, due, expected_updates, renews, until_renewal


def from_zero(step: int, period: int) -> bool:
    """Faulty: counts from 0, so every level fires before it has seen anything."""
    return step % period == 0


def fires(rule, period: int, steps: int) -> list[int]:
    return [step for step in range(steps + 1) if rule(step, period)]


@pytest.mark.parametrize("period", [1, 4, 16, 256])
def test_a_level_fires_exactly_at_multiples_of_its_period_and_never_at_zero(period):
    assert fires(due, period, 600) == list(range(period, 601, period))
    assert fires(from_zero, period, 600) != list(range(period, 601, period))


@pytest.mark.parametrize("period", [1, 3, 16])
@pytest.mark.parametrize("steps", [0, 2, 15, 16, 17, 100])
def test_updates_are_the_floor_of_steps_over_period(period, steps):
    assert len(fires(due, period, steps)) == expected_updates(steps, period) == steps // period


@pytest.mark.parametrize("periods", [(), (0, 1), (4, 4), (-1,), (1, 2.5)])
def test_periods_must_be_distinct_and_positive(periods):
    with pytest.raises(NlbenchError, match="distinct"):
        check_periods(periods)


def test_nested_periods_must_divide():
    assert check_periods((16, 1, 4), divisible=True) == (16, 1, 4)
    assert check_periods((2, 3)) == (2, 3)
    with pytest.raises(NlbenchError, match="divide"):
        check_periods((2, 3), divisible=True)


def test_a_level_that_never_fires_is_an_error():
    check_all_fire((1, 16), 16)
    with pytest.raises(NlbenchError, match="256"):
        check_all_fire((1, 16, 256), 90)


@pytest.mark.parametrize("period", [1, 3, 8, 10])
def test_what_renews_does_so_at_powers_of_two_and_then_at_multiples(period):
    renewals = [step for step in range(1, 50) if renews(step, period)]
    assert renewals == sorted({step for step in (1, 2, 4, 8) if step < period} | set(range(period, 50, period)))
    for step in range(40):
        assert until_renewal(step, period) == next(each for each in renewals if each > step) - step
