from __future__ import annotations

import pytest
from pydantic import ValidationError

from nlbench.learners.projections.config import GpmConfig, OwmConfig


def test_the_published_values_are_the_defaults() -> None:
    assert OwmConfig(kind="owm").alpha == 1.0
    assert (GpmConfig(kind="gpm").thresholds, GpmConfig(kind="gpm").samples) == ((0.95, 0.99), 300)


@pytest.mark.parametrize(
    ("config", "table"),
    [
        (OwmConfig, {"alpha": 0.0}),
        (GpmConfig, {"thresholds": []}),
        (GpmConfig, {"thresholds": [1.1]}),
        (GpmConfig, {"samples": 0}),
    ],
)
def test_what_a_table_may_not_say(config: type, table: dict) -> None:
    with pytest.raises(ValidationError, match=next(iter(table))):
        config.model_validate({"kind": config.model_fields["kind"].annotation.__args__[0], **table})
