"""Every optimizer's table: its defaults build a rule that descends, and its settings are those of the rule."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from nlbench.learners import optimizers
from nlbench.learners.optimizer_config import ExpressiveConfig, OptimizerConfig, SgdConfig

KINDS = get_args(OptimizerConfig)


def named(kind):
    return kind.model_validate({"kind": get_args(kind.model_fields["kind"].annotation)[0]})


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_build_an_optimizer(kind):
    assert optimizers.build(named(kind)) is not None


def test_kinds_are_told_apart():
    names = [named(kind).kind for kind in KINDS]
    assert len(names) == len(set(names))
    with pytest.raises(ValidationError):
        TypeAdapter(OptimizerConfig).validate_python({"kind": "sdg"})


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(kind, ExpressiveConfig)])
def test_a_rules_settings_are_its_own(kind):
    made = named(kind)
    assert not {"kind", "rate", "weight_decay", "vector_rate"} & made.settings().keys()
    assert made.rate_of_vectors > 0


def test_nesterov_needs_momentum():
    with pytest.raises(ValidationError, match="nesterov: needs momentum"):
        SgdConfig(nesterov=True)
    assert SgdConfig(nesterov=True, momentum=0.9).nesterov
