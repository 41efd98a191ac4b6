"""What a learner's table may say: rules between its keys name the key; a network and an optimizer are told apart by kind."""

from __future__ import annotations

import pytest

from nlbench.errors import SpecError
from nlbench.specs import learner_spec


def spec(**learner):
    return learner_spec({"learner": learner}, "r.toml", name="r").learner


def test_defaults_are_a_perceptron_with_sgd():
    assert spec(kind="mlp").hidden == (256, 256)
    naive = spec(kind="naive")
    assert (naive.network.kind, naive.head, naive.optimizer.kind) == ("mlp", "one", "sgd")


def test_networks_and_optimizers_of_their_own_kinds():
    made = spec(kind="naive", network={"kind": "convolutional"}, optimizer={"kind": "adamw"})
    assert (made.network.kind, made.optimizer.kind) == ("convolutional", "adamw")


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        ({"kind": "cms", "periods": [4, 4]}, r"learner\.periods: must differ from each other.*\[4, 4\]"),
        ({"kind": "cms", "periods": []}, r"learner\.periods: .*got"),
        ({"kind": "mlp", "rate": 0.0}, r"learner\.rate: must be greater than 0, got 0\.0"),
        ({"kind": "mlp", "momentum": 1.0}, r"learner\.momentum: must be less than 1, got 1\.0"),
        ({"kind": "mlp", "lr": 0.1}, r"learner\.lr: is not a known key"),
        ({"kind": "naive", "optimizer": {"kind": "sgd", "rates": 0.1}}, r"learner\.optimizer\.rates: is not a known key.*rate"),
        ({"kind": "naive", "optimizer": {"kind": "sdg"}}, r"learner\.optimizer\.kind: must be one of .*got 'sdg'"),
        ({"kind": "naive", "network": {"kind": "resnet"}}, r"learner\.network\.kind: must be one of .*got 'resnet'"),
    ],
)
def test_broken_rules_name_key_rule_and_value(learner, message):
    with pytest.raises(SpecError, match=message):
        spec(**learner)
