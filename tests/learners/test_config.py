"""What the table of a learner with a network of its own may say: rules name the key."""

from __future__ import annotations

import pytest

from nlbench.errors import SpecError
from nlbench.specs import learner_spec


def spec(**learner):
    return learner_spec({"learner": learner}, "r.toml", name="r").learner


def test_defaults_are_two_hidden_layers():
    assert spec(kind="mlp").hidden == (256, 256)


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        ({"kind": "cms", "periods": [4, 4]}, r"learner\.periods: must differ from each other.*\[4, 4\]"),
        ({"kind": "cms", "periods": []}, r"learner\.periods: .*got"),
        ({"kind": "mlp", "rate": 0.0}, r"learner\.rate: must be greater than 0, got 0\.0"),
        ({"kind": "mlp", "momentum": 1.0}, r"learner\.momentum: must be less than 1, got 1\.0"),
        ({"kind": "mlp", "lr": 0.1}, r"learner\.lr: is not a known key"),
    ],
)
def test_broken_rules_name_key_rule_and_value(learner, message):
    with pytest.raises(SpecError, match=message):
        spec(**learner)
