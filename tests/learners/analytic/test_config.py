from __future__ import annotations

import pytest
from pydantic import ValidationError

from nlbench.learners.analytic.config import FecamConfig, RanpacConfig, SldaConfig


def test_the_candidates_of_ranpac_are_the_published_ones() -> None:
    assert RanpacConfig(kind="ranpac").ridges == tuple(10.0**power for power in range(-8, 9))


@pytest.mark.parametrize(
    ("config", "table", "rule"),
    [
        (SldaConfig, {"kind": "slda", "shrinkage": 0.0}, "shrinkage"),
        (FecamConfig, {"kind": "fecam", "power": 1.5}, "power"),
        (FecamConfig, {"kind": "fecam", "shrinkage": [0.0, 1.0]}, "shrinkage"),
        (RanpacConfig, {"kind": "ranpac", "ridges": []}, "ridges"),
        (RanpacConfig, {"kind": "ranpac", "held_out": 1}, "held_out"),
        (SldaConfig, {"kind": "slda", "network": {"kind": "randomrelu"}}, "network"),
    ],
)
def test_what_a_table_may_not_say(config: type, table: dict, rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        config.model_validate(table)
