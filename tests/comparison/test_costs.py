"""Costs have units, budgets leave out and name, and a file of counts is one or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlbench import api
from nlbench.comparison.costs import affordable, budgets, cost_text, read_flops, spent, write_flops
from nlbench.errors import ComparisonError, NlbenchError
from nlbench.records import Record


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    folder = tmp_path_factory.mktemp("results")
    values = {"protocol.evaluate_every": "none"}
    return [
        api.run(model, "split-digits", seeds=2, overrides=values, results=folder, device="cpu").record
        for model in ("mlp", "chance", "er")
    ]


@pytest.mark.parametrize(
    ("text", "cost", "most"),
    [
        ("bytes=10MB", "bytes", 1e7),
        ("bytes=512", "bytes", 512.0),
        ("flops=2T", "flops", 2e12),
        ("flops=1.5GFLOP", "flops", 1.5e9),
        ("seconds=60s", "seconds", 60.0),
        ("flops=1e12", "flops", 1e12),
        ("bytes=3kB", "bytes", 3000.0),
    ],
)
def test_a_budget_is_a_cost_and_the_most_of_it(text: str, cost: str, most: float) -> None:
    assert budgets([text]) == {cost: pytest.approx(most)}


@pytest.mark.parametrize("text", ["bytes", "bytes=", "bytes=many", "money=3", "flops=-1", "bytes=nan", "seconds=1MB", "=3"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(NlbenchError, match="must be a cost and the most of it"):
        budgets([text])


@pytest.mark.parametrize(
    ("cost", "value", "text"),
    [("bytes", 999.0, "999 B"), ("flops", 3.09e7, "30.9 MFLOP"), ("flops", 0.0, "0 FLOP"), ("seconds", 1.234, "1.23 s")],
)
def test_costs_have_units(cost: str, value: float, text: str) -> None:
    assert cost_text(cost, value) == text


def test_who_takes_more_or_is_not_known_is_left_out_and_named(records: list[Record]) -> None:
    mlp, chance, er = records
    counts = {mlp.fingerprint: 3e7, er.fingerprint: 1e8}
    kept, notes = affordable(records, {"flops": 5e7}, counts)
    assert kept == [mlp]
    assert notes == [
        "left out: chance on split-digits, whose flops are not known: count them with nlbench flops.",
        "left out: er on split-digits, 100.0 MFLOP of 50.0 MFLOP.",
    ]
    size = spent(mlp, counts)["bytes"]
    assert size is not None
    assert affordable(records, {"bytes": size}, {})[0] == [mlp, chance]
    with pytest.raises(ComparisonError, match="no record is within the budget"):
        affordable(records, {"bytes": 1.0}, counts)


def test_a_comparison_within_a_budget_has_its_fronts_and_names_who_is_left_out(records: list[Record], tmp_path: Path) -> None:
    mlp, _, er = records
    write_flops(tmp_path / "flops.json", {mlp.fingerprint: 3e7, er.fingerprint: 1e8})
    found = api.compare(records, flops=tmp_path / "flops.json", within={"flops": 2e8})
    (group,) = found.groups
    assert {entry.label: entry.flops for entry in group.entries} == {"mlp": 3e7, "er": 1e8}
    assert group.entries[0].on_front["flops"]
    assert found.left_out == ("left out: chance on split-digits, whose flops are not known: count them with nlbench flops.",)
    assert "30.0 MFLOP ◆" in str(found)
    assert "left out: chance" in found.to_markdown()
    gain = api.compare(records, flops=tmp_path / "flops.json", metrics=["gain"])
    assert "◆: no other learner is better at average_accuracy for as few bytes, seconds or FLOPs." in str(gain)
    assert found.to_dict()["left_out"] == list(found.left_out)
    assert {row["flops"] for row in found.rows()} == {3e7, 1e8}
    plain = api.compare(records)
    assert "flops" not in str(plain)
    assert [entry.flops for entry in plain.groups[0].entries] == [None] * 3


def test_counts_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_flops(tmp_path / "flops.json", {"a": 3.0, "b": 1e12})
    assert read_flops(tmp_path / "flops.json") == {"a": 3.0, "b": 1e12}


@pytest.mark.parametrize("text", ["[]", "{", '{"a": "x"}', '{"a": null}', '{"a": -1}', '{"a": NaN}'])
def test_what_is_no_file_of_counts_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "flops.json").write_text(text)
    with pytest.raises(NlbenchError, match="count"):
        read_flops(tmp_path / "flops.json")
    with pytest.raises(NlbenchError, match="cannot be read"):
        read_flops(tmp_path / "nothing.json")
