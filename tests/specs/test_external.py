from __future__ import annotations

import pytest

from nlbench.errors import SpecError
from nlbench.learners.gradient import GradientLearner
from nlbench.learners.gradient_config import GradientConfig
from nlbench.learners.replay.config import ErConfig
from nlbench.learners.replay.er import Er
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


class Own(Er):
    """Adds no value to what it extends."""


class Widened(Own):
    class Config(ErConfig):
        kind: str
        strength: float = 0.5


class Plainer(GradientLearner):
    """Extends what is no learner of the catalog itself."""


def test_a_class_that_extends_one_of_ours_is_told_what_that_is_told() -> None:
    declared = ExternalConfig(kind="a.b:C", options={"capacity": 50})
    assert own_config(declared, Own) == ErConfig(kind="er", capacity=50)
    assert own_config(declared, Widened) == Widened.Config(kind="a.b:C", capacity=50, strength=0.5)
    assert own_config(ExternalConfig(kind="a.b:C", options={"head": "cosine"}), Plainer) == GradientConfig(head="cosine")
    with pytest.raises(SpecError, match=r"a\.b:C: capacty: is not a known key \(did you mean capacity\?\)"):
        own_config(ExternalConfig(kind="a.b:C", options={"capacty": 50}), Own)


def test_every_rule_that_options_break_is_told() -> None:
    with pytest.raises(SpecError) as caught:
        own_config(ExternalConfig(kind="a.b:C", options={"rate": "fast", "rat": 1}), Owner)
    assert len(caught.value.problems) == 2
