"""A table of orders for each model, the sentence below it, and the same as plain values."""

from __future__ import annotations

import json

import pytest

from nlbench.api.ordering import Found, Order
from nlbench.comparison.statistics import Interval
from nlbench.display.orders import orders


def found(model: str, name: str, mean: float | None, low: float = 0.1) -> Found:
    interval = None if mean is None else Interval(mean, low, mean + 0.1, 0.1, 5 if low == low else 1)
    return Found(Order(name, (1, 0), (1, 1), 0.25), model, f"{name}.parquet", interval, None)


def test_each_model_has_its_table_and_its_spread(capsys: pytest.CaptureFixture[str]) -> None:
    orders([found("a", "natural", 0.3), found("a", "apart", 0.2), found("b", "natural", None)], as_json=False)
    out = capsys.readouterr().out
    assert "1 | 0" in out
    assert "+0.250" in out
    assert "0.300 (0.100 … 0.400)" in out
    assert "a: from 0.200 (apart) to 0.300 (natural), 0.100 apart." in out
    assert "b: from" not in out


def test_drawn_orders_are_told_apart_and_one_seed_has_no_interval(capsys: pytest.CaptureFixture[str]) -> None:
    orders([found("a", "drawn-1", 0.3, float("nan")), found("a", "drawn-2", 0.5), found("a", "apart", 0.2)], as_json=True)
    (one,) = json.loads(capsys.readouterr().out)
    assert one["orders"][0]["average_accuracy"] == {"mean": 0.3, "low": None, "high": 0.4}
    assert (one["spread"]["worst"], one["spread"]["best"]) == ("apart", "drawn-2")
    assert one["spread"]["drawn"]["mean"] == pytest.approx(0.4)
