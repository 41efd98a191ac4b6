import numpy as np
import pytest

from nlbench.verify.feasible import bounds, clash, feasible
from nlbench.verify.judging import slopes
from nlbench.verify.statements import Equality, Order, Slope, Statement, Value


def value(of: str, equals: float, band: float = 0.1) -> Value:
    return Value(kind="value", of=of, equals=equals, band=band)


def order(above: str, below: str, by: float = 0.0, metric: str = "average_accuracy") -> Order:
    return Order(kind="order", above=above, below=below, by=by, metric=metric)


def equal(of: str, to: str, within: float = 0.05) -> Equality:
    return Equality(kind="equality", of=of, to=to, within=within)


def slope(of: list[str], against: list[float], at_least: float) -> Slope:
    return Slope(kind="slope", of=of, against=against, at_least=at_least)


RING = [order("a", "b"), order("b", "c"), order("c", "a")]


@pytest.mark.parametrize(
    ("statements", "numbers"),
    [
        (RING, (0, 1, 2)),
        ([value("a", 0.5), *RING[:2], value("c", 0.9)], (0, 1, 2, 3)),
        ([order("d", "e"), order("a", "b", 0.2), equal("a", "b", 0.2)], (1, 2)),
        ([value("a", 0.5), value("a", 0.7)], (0, 1)),
        ([order("a", "b", 0.6), order("b", "c", 0.4)], (0, 1)),
        ([slope(["a", "b", "c"], [1, 2, 3], 0.1), order("a", "c")], (0, 1)),
        ([slope(["a", "b"], [1, 3], 0.5)], (0,)),
        ([value("a", 0.0, 0.1), order("b", "a"), equal("b", "a")], ()),
        ([order("a", "b"), order("b", "a", metric="learning_accuracy")], ()),
        ([order("a", "b", 0.5), order("b", "c", 0.49)], ()),
        ([slope(["a", "b", "c"], [1, 2, 3], 0.1), order("b", "c", 0.2)], ()),
        ([slope(["a", "b"], [1, 3], -0.1), order("a", "b", 0.15)], ()),
    ],
)
def test_the_first_statement_that_cannot_hold_is_named_with_those_that_it_needs(
    statements: list[Statement], numbers: tuple[int, ...]
) -> None:
    assert clash(statements) == numbers


def test_a_range_that_is_a_single_point_holds_nothing() -> None:
    assert not feasible([order("a", "b", 0.2), equal("a", "b", 0.2)])
    assert feasible([order("a", "b", 0.2), equal("a", "b", 0.2 + 1e-6)])


@pytest.mark.parametrize("seed", range(5))
def test_means_meet_the_bounds_of_a_slope_where_its_least_squares_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    against, means = rng.normal(size=4) * 10, rng.random(4)
    steep = float(slopes(against, [np.array([mean]) for mean in means])[0])
    of = list("abcd")
    for at_least, met in ((steep - 1e-6, True), (steep + 1e-6, False)):
        ((weights, edge),) = bounds(slope(of, against.tolist(), at_least))
        assert (sum(weights[name] * mean for name, mean in zip(of, means, strict=True)) < edge) == met
