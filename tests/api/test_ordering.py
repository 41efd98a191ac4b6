"""Orders from Python: what is recorded is not run again, and a model may be a class."""

from __future__ import annotations

from pathlib import Path

from nlbench import api
from nlbench.sweep import Outcome


def test_orders_are_run_once_and_what_is_recorded_is_read(tmp_path: Path) -> None:
    first: list[Outcome] = []
    found = api.orders(["chance"], "split-digits", seeds=2, drawn=1, results=tmp_path, device="cpu", listen=first.append)
    assert [one.order.name for one in found] == ["natural", "apart", "together", "drawn-1"]
    assert [outcome.state for outcome in first] == ["run"] * 4
    again: list[Outcome] = []
    assert api.orders(["chance"], "split-digits", seeds=2, drawn=1, results=tmp_path, device="cpu", listen=again.append) == found
    assert [outcome.state for outcome in again] == ["recorded"] * 4


def test_facts_of_the_stream_hold_for_every_order(tmp_path: Path) -> None:
    said = {"stream.scenario": "task-il", "protocol.evaluate": "final"}
    found = api.orders(["chance"], "split-digits", seeds=1, drawn=0, overrides=said, results=tmp_path, device="cpu")
    assert [one.forgetting for one in found] == [None] * 3
    assert all("final" not in one.order.name and one.average_accuracy is not None for one in found)
