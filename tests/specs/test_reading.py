from __future__ import annotations

import pytest

from nlbench.errors import SpecError
from nlbench.specs import stream_spec
from nlbench.specs.reading import reading


def test_a_reading_that_breaks_a_rule_is_named_by_its_key() -> None:
    table = {"title": "t", "stream": {"kind": "split", "source": "./no.csv", "tasks": 2}, "protocol": {"batch": 8}}
    table["stream"]["read"] = {"layout": "HWC", "colour": 1}
    with pytest.raises(SpecError) as refused:
        stream_spec(table, "mine.toml", {"unresolved": True})
    assert [problem.partition(": ")[2].partition(": ")[0] for problem in refused.value.problems] == [
        "stream.read.layout",
        "stream.read.colour",
    ]


def test_a_reading_of_the_command_line_breaks_the_same_rules() -> None:
    assert reading({"unused": "id"}, "a.csv").unused == ("id",)
    assert reading({"unused": ["id", "date"]}, "a.csv").unused == ("id", "date")
    with pytest.raises(SpecError) as refused:
        reading({"label": "kind", "size": 0}, "./a.csv")
    assert sorted(refused.value.problems) == [
        "./a.csv: stream.read.label: is not a known key (did you mean labels?), got 'kind'",
        "./a.csv: stream.read.size: must be greater than or equal to 1, got 0",
    ]
