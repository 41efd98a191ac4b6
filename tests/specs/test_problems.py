from __future__ import annotations

from typing import Any

import pytest

from nlbench.errors import SpecError
from nlbench.specs import learner_spec, stream_spec


@pytest.mark.parametrize(
    ("learner", "line"),
    [
        ({"readout": {"rul": "exact"}}, "learner.readout.rul: is not a known key (did you mean rule?), got 'exact'"),
        ({"readout": {"rule": "exac"}}, "learner.readout.rule: must be 'exact', 'protected' or 'dgd', got 'exac'"),
        ({"levels": [{"width": 4}, {"widht": 4}]}, "learner.levels.1.width: is required"),
        ({"levels": [{"width": 4, "perod": 2}]}, "learner.levels.0.perod: is not a known key (did you mean period?), got 2"),
        ({"keys": {"kind": "random", "widht": 4}}, "learner.keys.widht: is not a known key (did you mean width?), got 4"),
        ({"keys": {"kind": "convolution", "size": [1]}}, "learner.keys.size: is not a known key (did you mean sizes?), got [1]"),
        ({"keys": {"kind": "randon"}}, "learner.keys.kind: must be one of inputs, random, convolution, got 'randon'"),
        ({"keys": {"width": 4}}, "learner.keys.kind: is required"),
        ({"keys": 3}, "learner.keys: must be a valid dictionary or object to extract fields from, got 3"),
        ({"rule": "exact"}, "learner.rule: is not a known key (did you mean learner.readout.rule?), got 'exact'"),
        ({"refesh": 4}, "learner.refesh: is not a known key (did you mean refresh or levels?), got 4"),
    ],
)
def test_a_key_is_named_as_the_file_writes_it_and_beside_those_of_its_own_table(learner: dict[str, Any], line: str) -> None:
    with pytest.raises(SpecError) as caught:
        learner_spec({"learner": {"kind": "projected", **learner}}, "r.toml", name="r")
    assert f"r.toml: {line}" in caught.value.problems


@pytest.mark.parametrize(
    ("sizes", "lines"),
    [
        ([2.0], ["x.toml: stream.sizes.0: must be a valid integer, got 2.0"]),
        ([], ["x.toml: stream.sizes: must have at least 1 item, got []"]),
    ],
)
def test_a_list_is_too_short_only_where_it_is(sizes: list[Any], lines: list[str]) -> None:
    stream = {"kind": "split", "source": "digits", "tasks": 5, "sizes": sizes}
    with pytest.raises(SpecError) as caught:
        stream_spec({"title": "t", "stream": stream, "protocol": {"batch": 8}}, "x.toml")
    assert list(caught.value.problems) == lines
