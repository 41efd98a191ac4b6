"""What numbers say of a claim: each verdict, at the edges, and how often a wrong one is given."""

from __future__ import annotations

import numpy as np
import pytest

from nlbench.verify.judging import judge, slopes
from nlbench.verify.statements import Equality, Order, Slope, Statement, Value
from nlbench.verify.words import worded

VALUE = Value(kind="value", of="a", equals=0.8, band=0.02)
ORDER = Order(kind="order", above="a", below="b", by=0.1)
EQUAL = Equality(kind="equality", of="a", to="b", within=0.05)
SLOPE = Slope(kind="slope", of=["a", "b", "c"], against=[1.0, 2.0, 4.0], at_least=0.02)


def seeds(mean: float, sd: float = 0.005, n: int = 10, offset: int = 0) -> dict[int, float]:
    """Values with exactly this mean and standard deviation."""
    draws = np.random.default_rng(offset).normal(size=n)
    draws = (draws - draws.mean()) / draws.std(ddof=1)
    return dict(enumerate((mean + sd * draws).tolist()))


@pytest.mark.parametrize(
    ("statement", "means", "verdict"),
    [
        (VALUE, {"a": 0.805}, "holds"),
        (VALUE, {"a": 0.83}, "does not hold"),
        (VALUE, {"a": 0.77}, "does not hold"),
        (VALUE, {"a": 0.819}, "undecided"),
        (ORDER, {"a": 0.9, "b": 0.75}, "holds"),
        (ORDER, {"a": 0.9, "b": 0.85}, "does not hold"),
        (ORDER, {"a": 0.75, "b": 0.9}, "does not hold"),
        (ORDER, {"a": 0.9, "b": 0.801}, "undecided"),
        (EQUAL, {"a": 0.9, "b": 0.91}, "holds"),
        (EQUAL, {"a": 0.9, "b": 0.8}, "does not hold"),
        (EQUAL, {"a": 0.9, "b": 0.952}, "undecided"),
        (SLOPE, {"a": 0.5, "b": 0.55, "c": 0.65}, "holds"),
        (SLOPE, {"a": 0.5, "b": 0.49, "c": 0.48}, "does not hold"),
    ],
)
def test_each_statement_holds_or_not_or_cannot_be_told(statement: Statement, means: dict[str, float], verdict: str) -> None:
    values = {name: seeds(mean, offset=number) for number, (name, mean) in enumerate(means.items())}
    found = judge(statement, values)
    assert found.verdict == verdict
    assert found.statement == worded(statement)
    assert (found.seeds_to_tell is not None) == (verdict == "undecided")


def test_differences_are_paired_and_only_common_seeds_count() -> None:
    common = np.linspace(0.3, 0.9, 12)
    above = dict(enumerate(common + 0.2))
    below = dict(enumerate(common[:10])) | {77: 5.0}
    found = judge(ORDER, {"a": above, "b": below})
    assert (found.verdict, found.seeds) == ("holds", 10)
    assert found.mean == pytest.approx(0.2)


def test_few_seeds_cannot_pass_the_sign_flip_test_and_as_many_as_can_are_named() -> None:
    values = {"a": seeds(0.9, n=5), "b": seeds(0.5, n=5, offset=1)}
    found = judge(ORDER, values)
    assert (found.verdict, found.p) == ("undecided", 0.0625)
    assert found.seeds_to_tell == 6
    assert judge(ORDER, {"a": seeds(0.9, n=6), "b": seeds(0.5, n=6, offset=1)}).verdict == "holds"


def test_one_seed_tells_nothing() -> None:
    found = judge(VALUE, {"a": {0: 0.8}})
    assert (found.verdict, found.reason) == ("undecided", "one seed has no spread")


@pytest.mark.parametrize(
    ("statement", "a", "b", "verdict"),
    [
        (Order(kind="order", above="a", below="b"), 0.5, 0.5, "does not hold"),
        (Order(kind="order", above="a", below="b"), 0.6, 0.5, "holds"),
        (
            Order(kind="order", above="a", below="b"),
            0.2 + 3e-17,
            np.mean([0.3, 0.2, 0.1]) - 6e-17,
            "does not hold",
        ),  # rounding apart
        (Order(kind="order", above="a", below="b", by=0.02), 0.52, 0.5, "does not hold"),  # .0200000000000000018
        (EQUAL, 0.5, 0.5, "holds"),
        (EQUAL, 0.5, 0.56, "does not hold"),
    ],
)
def test_what_does_not_vary_is_decided_by_its_value(statement: Statement, a: float, b: float, verdict: str) -> None:
    values = {"a": dict.fromkeys(range(10), a), "b": dict.fromkeys(range(10), b)}
    assert judge(statement, values).verdict == verdict


def test_several_statements_of_a_claim_ask_for_more() -> None:
    values = {"a": seeds(0.8125, sd=0.01)}
    assert judge(VALUE, values).verdict == "holds"
    assert judge(VALUE, values, tests=20).verdict == "undecided"


@pytest.mark.parametrize(
    ("statement", "mean", "verdict", "tests"),
    [(VALUE, 0.81, "holds", 1), (VALUE, 0.8, "holds", 4), (VALUE, 0.83, "does not hold", 4), (ORDER, 0.115, "holds", 1)],
)
def test_as_many_seeds_as_are_said_to_tell_do_four_times_in_five(
    statement: Statement, mean: float, verdict: str, tests: int
) -> None:
    guess = dict.fromkeys(range(10), 0.0)
    n = judge(statement, {"a": seeds(mean, sd=0.035), "b": guess}, tests).seeds_to_tell
    assert n is not None
    draws = np.random.default_rng(0).normal(mean, 0.035, (400, n))
    guess = dict.fromkeys(range(n), 0.0)
    told = sum(judge(statement, {"a": dict(enumerate(row)), "b": guess}, tests).verdict == verdict for row in draws.tolist())
    assert 0.74 <= told / 400 <= 0.86


def test_why_an_interval_is_not_believed_is_said() -> None:
    few = judge(ORDER, {"a": seeds(0.9, n=7), "b": seeds(0.5, n=7, offset=1)}, 4)
    assert (few.verdict, few.seeds_to_tell) == ("undecided", 8)
    assert few.reason.startswith("the sign-flip test gives p = 0.016, and must give 0.013 or less, which 7 seeds cannot; 8 seeds")
    skewed = dict(enumerate([0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.09, 0.09, 0.3]))
    enough = judge(ORDER, {"a": skewed, "b": dict.fromkeys(range(10), 0.0)}, 10)
    assert enough.verdict == "undecided"
    assert "cannot" not in enough.reason


@pytest.mark.parametrize("statement", [VALUE, ORDER, EQUAL])
def test_what_does_not_vary_over_few_seeds_is_not_believed(statement: Statement) -> None:
    few = judge(statement, {"a": dict.fromkeys(range(5), 0.8), "b": dict.fromkeys(range(5), 0.8)})
    assert (few.verdict, few.seeds_to_tell) == ("undecided", 6)
    assert few.reason.startswith("nothing varies over 5 seeds, too few to say that nothing would; 6 seeds would tell")


def test_slopes_are_those_of_least_squares() -> None:
    x, rows = [1.0, 3.0, 4.0], np.random.default_rng(0).normal(size=(3, 5))
    np.testing.assert_allclose(slopes(x, list(rows)), np.polyfit(x, rows, 1)[0])


@pytest.mark.parametrize("true", [0.1, 0.05])
def test_a_false_order_is_said_to_hold_in_one_of_forty_at_most(true: float) -> None:
    draws = np.random.default_rng(1).normal(true, 0.02, (2000, 10))
    wrong = sum(judge(ORDER, {"a": dict(enumerate(row)), "b": dict.fromkeys(range(10), 0.0)}).verdict == "holds" for row in draws)
    assert wrong / 2000 <= 0.025 + 0.01


def test_of_claims_at_the_very_edge_one_in_twenty_at_most_is_judged_however_many_statements_it_has() -> None:
    draws = np.random.default_rng(2).normal(0.1, 0.02, (1500, 4, 10))
    guess = dict.fromkeys(range(10), 0.0)
    judged = sum(
        any(judge(ORDER, {"a": dict(enumerate(row)), "b": guess}, tests=4).verdict != "undecided" for row in claim)
        for claim in draws.tolist()
    )
    assert judged / 1500 <= 0.05 + 0.015


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e12])
@pytest.mark.parametrize(("rise", "verdict"), [(0.1, "holds"), (0.0, "undecided"), (-0.1, "does not hold")])
def test_slopes_are_judged_alike_in_whatever_unit_their_numbers_are(unit: float, rise: float, verdict: str) -> None:
    statement = Slope(kind="slope", of=["a", "b", "c"], against=[unit, 2 * unit, 3 * unit])
    values = {name: seeds(0.5 + number * rise, sd=0.02, offset=number + 1) for number, name in enumerate("abc")}
    found = judge(statement, values)
    assert found.verdict == verdict
    assert found.mean == pytest.approx(rise / unit, abs=1e-12 / unit)
    assert found.low < found.mean < found.high
