from __future__ import annotations

import pytest

from nlbench.errors import SpecError
from nlbench.specs import stream_spec


def test_a_reading_that_breaks_a_rule_is_named_by_its_key() -> None:
    table = {"title": "t", "stream": {"kind": "split", "source": "./no.csv", "tasks": 2}, "protocol": {"batch": 8}}
    table["stream"]["read"] = {"layout": "HWC", "colour": 1}
    with pytest.raises(SpecError) as refused:
        stream_spec(table, "mine.toml", {"unresolved": True})
    assert [problem.partition(": ")[2].partition(": ")[0] for problem in refused.value.problems] == [
        "stream.read.layout",
        "stream.read.colour",
    ]
