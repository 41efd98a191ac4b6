from __future__ import annotations

import pytest

from nlbench.errors import SpecError
from nlbench.specs import Closed, ExternalConfig, own_config


class Owner:
    class Config(Closed):
        rate: float
        kind: str


class Plain:
    pass


def test_options_are_the_config_that_the_class_carries_or_stay_as_they_are() -> None:
    declared = ExternalConfig(kind="a.b:C", options={"rate": 0.5})
    assert own_config(declared, Owner) == Owner.Config(rate=0.5, kind="a.b:C")
    assert own_config(declared, Plain) == {"rate": 0.5}


def test_every_rule_that_options_break_is_told() -> None:
    with pytest.raises(SpecError) as caught:
        own_config(ExternalConfig(kind="a.b:C", options={"rate": "fast", "rat": 1}), Owner)
    assert len(caught.value.problems) == 2
