from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from nlbench.errors import SpecError
from nlbench.specs import canonical, digest, stream_spec


def spec(scenario: str = "class-il", **protocol: Any) -> Any:
    table = {
        "title": "t",
        "stream": {"kind": "split", "source": "digits", "tasks": 5, "scenario": scenario},
        "protocol": {"batch": 16, **protocol},
    }
    return stream_spec(table, "s")


@pytest.mark.parametrize(
    ("scenario", "default", "allowed"),
    [("task-il", "task", {"task"}), ("domain-il", "all", {"all"}), ("class-il", "all", {"all", "seen"})],
)
def test_the_scenario_decides_which_logits_may_compete(scenario: str, default: str, allowed: set[str]) -> None:
    assert spec(scenario).output_space == default
    for space in ("all", "seen", "task"):
        if space in allowed:
            assert spec(scenario, output_space=space).output_space == space
        else:
            with pytest.raises(SpecError, match="output_space"):
                spec(scenario, output_space=space)


@pytest.mark.parametrize("order", [["0", "1", "2"], [0.0, 1.0], [True, False], [0, 0], [[0], 1]])
def test_a_class_order_of_no_classes_is_refused_in_one_line(order: list[Any]) -> None:
    with pytest.raises(SpecError) as caught:
        stream_spec({"stream": {"kind": "split", "source": "digits", "tasks": 5, "class_order": order}}, "a.toml")
    assert str(caught.value).count("class_order") == 1
    assert 'must be "natural", "seed", "extreme", or every class once, from 0' in str(caught.value)


def test_class_order_by_seed_needs_both_quotas() -> None:
    def split(**extra: Any) -> Any:
        table = {"kind": "split", "source": "digits", "tasks": 5, "class_order": "seed", **extra}
        return stream_spec({"title": "t", "stream": table, "protocol": {"batch": 1}}, "s")

    for given in ({}, {"train_quota": 10}, {"test_quota": 10}):
        with pytest.raises(SpecError, match="needs train_quota and test_quota"):
            split(**given)
    assert split(train_quota=10, test_quota=5).stream.class_order == "seed"


def test_declarations_are_frozen_and_digests_do_not_depend_on_key_order() -> None:
    declared = spec()
    with pytest.raises(ValidationError):
        declared.title = "u"
    assert canonical({"b": 1, "a": [1.5, "é"]}) == '{"a":[1.5,"é"],"b":1}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
    assert digest("ab", "c") != digest("a", "bc")
    with pytest.raises(ValueError, match="JSON"):
        canonical({"a": float("nan")})
