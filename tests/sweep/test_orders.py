"""Class orders: the extremes are what every partition says, drawn orders are always the same, and a spread names its ends."""

from __future__ import annotations

from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest

import nlbench
from nlbench import api
from nlbench.comparison.statistics import Interval
from nlbench.errors import NlbenchError
from nlbench.sweep import orders
from nlbench.sweep.orders import Found, Order, between, likeness, orders_of, searched, spread


@pytest.mark.parametrize("sizes", [(2, 2, 2), (3, 3), (1, 2, 3)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_swaps_find_what_looking_at_every_order_finds(sizes: tuple[int, ...], seed: int) -> None:
    alike = likeness(np.random.default_rng(seed).standard_normal((6, 4)))
    every = [between(alike, order, sizes) for order in permutations(range(6))]
    for most, best in ((True, max(every)), (False, min(every))):
        order = searched(alike, sizes, most=most)
        assert sorted(order) == list(range(6))
        assert between(alike, order, sizes) == pytest.approx(best)


def test_alike_classes_are_dealt_out_apart_or_together() -> None:
    centres = np.eye(4)[[0, 1, 2, 3, 0, 1, 2, 3]]
    alike = likeness(centres + 0.01 * np.random.default_rng(0).standard_normal(centres.shape))
    assert alike[1, 5] > 0.99
    assert alike.trace() == 0
    together = searched(alike, (2, 2, 2, 2), most=False)
    assert {frozenset(together[first : first + 2]) for first in range(0, 8, 2)} == {frozenset((c, c + 4)) for c in range(4)}
    apart = searched(alike, (4, 4), most=True)
    assert {label % 4 for label in apart[:4]} == {0, 1, 2, 3}


def test_a_stream_has_its_usual_order_both_extremes_and_drawn_ones_that_stay_the_same() -> None:
    plan = api.resolve("chance", "split-digits", seeds=1)
    orders = orders_of(plan, 3)
    assert [order.name for order in orders] == ["natural", "apart", "together", "drawn-1", "drawn-2", "drawn-3"]
    assert all(sorted(order.classes) == list(range(10)) and order.sizes == (2,) * 5 for order in orders)
    ranked = sorted(orders, key=lambda order: order.between)
    assert (ranked[0].name, ranked[-1].name) == ("together", "apart")
    assert orders_of(plan, 5)[:6] == orders
    assert orders[0].tasks == "0 1 | 2 3 | 4 5 | 6 7 | 8 9"


def test_a_stream_that_deals_out_no_classes_is_refused() -> None:
    for name, said in (("permuted-digits", {}), ("split-digits", {"stream.tasks": "1"})):
        with pytest.raises(NlbenchError, match="deals no classes out to tasks"):
            orders_of(api.resolve("chance", name, seeds=1, overrides=said), 2)


def found(name: str, mean: float | None) -> Found:
    interval = None if mean is None else Interval(mean, mean - 0.1, mean + 0.1, 0.1, 5)
    return Found(Order(name, (0, 1), (1, 1), 0.0), "m", "r.parquet", interval, None)


def test_the_spread_is_of_all_orders_and_of_the_drawn_ones_apart() -> None:
    apart = spread([found("natural", 0.5), found("apart", 0.2), found("drawn-1", 0.4), found("drawn-2", 0.6), found("x", None)])
    assert apart is not None
    assert (apart.worst.order.name, apart.best.order.name) == ("apart", "drawn-2")
    assert apart.drawn == pytest.approx((0.5, np.std([0.4, 0.6], ddof=1)))
    alone = spread([found("natural", 0.5), found("drawn-1", 0.4)])
    assert alone is not None
    assert alone.drawn is None
    assert spread([found("natural", None)]) is None


def test_an_interval_ends_where_the_metric_does() -> None:
    plan = nlbench.resolve("mlp", "split-digits", seeds=3)
    record = SimpleNamespace(metric=lambda name: {0: 0.6, 1: 0.99, 2: 0.85, 7: 0.1})
    interval = orders._interval(record, "forgetting", plan)  # type: ignore[arg-type]
    assert interval is not None
    assert (interval.n, interval.high) == (3, 1.0)
    assert interval.low < 0.4
