"""Claims as files: what one says, and every rule that one can break."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from nlbench import catalog
from nlbench.errors import SpecError, UnknownNameError
from nlbench.metrics import METRICS
from nlbench.plan import Plan
from nlbench.protocol.policy import evaluated_tasks
from nlbench.verify import trial
from nlbench.verify.claims import claim_of, read_claims
from nlbench.verify.statements import Value

TABLE = {
    "title": "A title",
    "statement": "One is above the other.",
    "source": {"paper": "Somebody 2020", "place": "Table 1"},
    "cells": {
        "one": {"model": "mlp", "stream": "split-digits"},
        "other": {"model": "chance", "stream": "split-digits"},
    },
    "holds": [{"kind": "order", "above": "one", "below": "other", "by": 0.1}],
    "quick": {"streams": {"split-digits": "permuted-digits"}},
}

VALUE = {"kind": "value", "of": "one", "equals": 0.5, "band": 0.1}


def changed(**values: object) -> dict[str, object]:
    return deepcopy(TABLE) | values


def test_a_claim_is_read_and_its_digest_is_of_what_is_tried_alone() -> None:
    claim = claim_of(TABLE, "file.toml")
    assert claim.seeds == 10
    assert claim.holds[0].cells == ("one", "other")
    assert claim_of(changed(title="Another"), "file.toml").digest == claim.digest
    assert claim_of(changed(seeds=20), "file.toml").digest != claim.digest
    number = {"kind": "value", "of": "one", "equals": 0.5, "band": 0.1}
    digests = [
        claim_of(changed(holds=[*order(), number | more]), "file.toml").digest
        for more in ({}, {"cause": "Their rate falls."}, {"band": 0.2})
    ]
    assert digests[0] == digests[1] != digests[2]


def test_bands_that_meet_and_orders_of_other_metrics_do_not_contradict_each_other() -> None:
    values = [{"kind": "value", "of": "one", "equals": x, "band": 0.1} for x in (0.5, 0.69)]
    forgets = order(above="other", below="one", metric="forgetting")
    same = [{"kind": "equality", "of": "other", "to": "one", "within": 0.1}]
    assert len(claim_of(changed(holds=order() + values + forgets + same), "file.toml").holds) == 5


def order(**values: object) -> list[dict[str, object]]:
    return [{"kind": "order", "above": "one", "below": "other"} | values]


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        (changed(holds=order(above="on")), r"holds\.0: 'on' is none of the cells \(did you mean one\?\)"),
        (
            changed(holds=order(metric="forgeting")),
            r"holds\.0\.metric: must be a metric, got 'forgeting' \(did you mean forgetting",
        ),
        (changed(holds=order(by=-1.0)), r"holds\.0\.by: must be greater than or equal to 0, got -1\.0"),
        (changed(holds=order(below="one")), r"toml: holds\.0\.above and below must be two runs, got 'one' twice"),
        (changed(holds=[{"kind": "equality", "of": "one", "to": "one", "within": 0.1}]), r"of and to must be two runs"),
        (
            changed(holds=[*order(), {"kind": "slope", "of": ["one", "other", "one"], "against": [1, 2, 3]}]),
            r"holds\.1\.of must name different runs, got \['one', 'other', 'one'\]",
        ),
        (changed(holds=order(by=1.0)), r"holds\.0\.by: must be less than 1, the whole range of average_accuracy, got 1$"),
        (
            changed(holds=[*order(), {"kind": "value", "of": "one", "equals": 69.0, "band": 0.1}]),
            r"holds\.1\.equals: must be between 0 and 1, as average_accuracy is, got 69$",
        ),
        (
            changed(holds=[{"kind": "equality", "of": "one", "to": "other", "metric": "forgetting", "within": 2.0}]),
            r"holds\.0\.within: must be less than 2, the whole range of forgetting, got 2$",
        ),
        (
            changed(holds=[*order(), {"kind": "value", "of": "one", "equals": 0.9, "band": 2.0}]),
            r"holds\.1\.band: must be less than 1, the whole range",
        ),
        (changed(holds=order() + order(above="other", below="one")), r"holds\.1: cannot hold where holds\.0 does"),
        (
            changed(holds=order() + [{"kind": "value", "of": "one", "equals": x, "band": 0.1} for x in (0.5, 0.8)]),
            r"holds\.2: cannot hold where holds\.1 does",
        ),
        (
            changed(holds=[*order(by=0.2), {"kind": "equality", "of": "other", "to": "one", "within": 0.1}]),
            r"holds\.1: cannot hold where holds\.0 does",
        ),
        (
            changed(holds=[*order(by=0.6), VALUE | {"of": "other", "equals": 0.6}]),
            r"holds\.1: cannot hold where holds\.0 does",
        ),
        (
            changed(holds=[VALUE, VALUE | {"of": "other", "equals": 0.9}, *order()]),
            r"holds\.2: cannot hold where holds\.0 and holds\.1 do",
        ),
        (
            changed(holds=[{"kind": "slope", "of": ["one", "other"], "against": [1.0, 2.0], "at_least": 1.5}]),
            r"holds\.0: cannot hold whatever average_accuracy is",
        ),
        (changed(holds=order(metric="gain")), r"holds\.0\.metric: must be of one run, got 'gain', which compares it with others"),
        (changed(holds=order(by=float("nan"))), r"holds\.0\.by"),
        (changed(seeds=0), r"seeds: must be greater than or equal to 5, got 0"),
        (changed(cells={}), r"cells"),
        (changed(holds=[]), r"holds: List should have at least 1 item|holds: .*at least 1 item"),
        (changed(holds=[{"kind": "value", "of": "one", "equals": 0.5, "band": 0.1}]), r"cells\.other: nothing is held of it"),
        (changed(quick={"streams": {"split-mnist": "split-digits"}}), r"split-mnist: is no stream of its cells \(.*split-digits"),
        (changed(quick={"cells": {"on": {"batch": 8}}}), r"quick\.cells\.on: is none of the cells \(did you mean one\?\)"),
        (changed(seeds=3), r"seeds: must be greater than or equal to 5, got 3"),
        (changed(holds=order(bye=0.1)), r"holds\.0\.bye: is not a known key \(did you mean by or below\?\)"),
        (changed(surprise=1), r"surprise: is not a known key"),
        (
            changed(holds=[{"kind": "slope", "of": ["one", "other"], "against": [1.0, 2.0, 3.0]}]),
            r"against must have a number for each of the 2 runs, got 3",
        ),
        (
            changed(holds=[{"kind": "slope", "of": ["one", "other"], "against": [1.0, 1.0]}]),
            "against must hold different numbers",
        ),
        (changed(holds=[{"kind": "sum"}]), r"holds\.0\.kind: must be one of value, order, equality, slope, got 'sum'"),
    ],
)
def test_a_broken_rule_is_named_with_its_place(table: dict[str, object], rule: str) -> None:
    with pytest.raises(SpecError, match=rule):
        claim_of(table, "file.toml")


def test_claims_are_found_by_name_or_file(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "results" / "claims"
    folder.mkdir(parents=True)
    text = """title = "T"
statement = "S"
source.paper = "P"
cells.one = { model = "mlp", stream = "split-digits" }
holds = [{ kind = "value", of = "one", equals = 0.5, band = 0.1 }]
"""
    (folder / "first.toml").write_text(text)
    (folder / "second.toml").write_text(text.replace('"T"', '"U"'))
    monkeypatch.setattr(catalog, "ROOT", tmp_path)
    assert [(name, claim.title) for name, claim in read_claims()] == [("first", "T"), ("second", "U")]
    assert [name for name, _ in read_claims(("second",))] == ["second"]
    assert [name for name, _ in read_claims((str(folder / "first.toml"),))] == ["first"]
    with pytest.raises(UnknownNameError, match="first"):
        list(read_claims(("frist",)))


def test_the_claims_that_come_with_it_hold_numbers_of_papers_and_all_have_a_reduced_form() -> None:
    claims = [claim for _, claim in read_claims()]
    assert sum(isinstance(statement, Value) for claim in claims for statement in claim.holds) >= 50
    assert all(claim.quick is not None and claim.search for claim in claims)
    assert {claim.chapter for claim in claims} == {"hope", "nested-learning", "field"}
    fair = [claim for claim in claims if claim.chapter == "nested-learning"]
    assert all("2512.24695" in claim.source.paper and claim.source.note for claim in fair)


@pytest.mark.parametrize("reduced", [True, False])
def test_what_is_judged_is_measured(reduced: bool) -> None:
    for name, claim in read_claims():
        plans = trial(name, claim, reduced=reduced).plans
        for statement in claim.holds:
            metric = METRICS[statement.metric]
            if metric.needs == "accuracy" and not (reduced and isinstance(statement, Value)):
                for cell in statement.cells:
                    metric.function(measured(plans[cell]))  # raises what is lacking


def measured(plan: Plan) -> np.ma.MaskedArray:
    """A matrix (T + 1, T) of noughts where the plan measures."""
    tasks = plan.stream.stream.tasks
    matrix = np.ma.masked_all((tasks + 1, tasks))
    for row in range(tasks + 1):
        for task in evaluated_tasks(plan.stream.protocol.evaluate, row, tasks):
            matrix[row, task - 1] = 0.0
    return matrix
