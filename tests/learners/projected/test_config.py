from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from nlbench.learners.projected.config import ConvolutionKeys, InputKeys, ProjectedConfig, RandomKeys


def config(**table: Any) -> ProjectedConfig:
    return ProjectedConfig.model_validate({"kind": "projected", **table})


@pytest.mark.parametrize("periods", [[1, 2], [4, 8, 8], [8, 2, 4]])
def test_levels_go_from_slow_to_fast_and_may_share_a_period(periods: list[int]) -> None:
    with pytest.raises(ValidationError, match="must go from slow to fast"):
        config(levels=[{"width": 3, "period": period} for period in periods])
    assert len(config(levels=[{"width": 3, "period": period} for period in (4, 1, 1)]).levels) == 3


def test_keys_are_of_the_kind_that_they_name() -> None:
    kinds = {"inputs": InputKeys, "random": RandomKeys, "convolution": ConvolutionKeys}
    assert {name: type(config(keys={"kind": name}).keys) for name in kinds} == kinds
    assert config().keys == InputKeys()


@pytest.mark.parametrize(
    "table",
    [
        {"keys": {"kind": "inputs", "width": 3}},
        {"readout": {"rule": "ridge"}},
        {"readout": {"rule": "exact", "retain": 0.0}},
        {"readout": {"surprise": -1.0}},
        {"levels": [{"width": 0}]},
        {"self_reference": {"makes": []}},
        {"share": 0},
    ],
)
def test_what_has_no_meaning_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**table)
