"""What the table of a learner by gradients may say: a network and an optimizer are told apart by kind, and rules name the key."""

from __future__ import annotations

import pytest

from nlbench.errors import SpecError
from nlbench.specs import learner_spec


def spec(**learner):
    return learner_spec({"learner": learner}, "r.toml", name="r").learner


def test_defaults_are_a_perceptron_with_sgd():
    naive = spec(kind="naive")
    assert (naive.network.kind, naive.head, naive.optimizer.kind) == ("mlp", "one", "sgd")


def test_networks_and_optimizers_of_their_own_kinds():
    made = spec(kind="naive", network={"kind": "convolutional"}, optimizer={"kind": "adamw"})
    assert (made.network.kind, made.optimizer.kind) == ("convolutional", "adamw")


def test_values_of_the_usual_optimizer_change_without_its_kind():
    changed = spec(kind="naive", optimizer={"rate": 0.3}).optimizer
    assert (changed.kind, changed.rate) == ("sgd", 0.3)


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        ({"kind": "naive", "optimizer": {"kind": "sgd", "rates": 0.1}}, r"learner\.optimizer\.rates: is not a known key.*rate"),
        ({"kind": "naive", "optimizer": {"kind": "sdg"}}, r"learner\.optimizer\.kind: must be one of .*got 'sdg'"),
        ({"kind": "naive", "network": {"kind": "resnet"}}, r"learner\.network\.kind: must be one of .*got 'resnet'"),
    ],
)
def test_broken_rules_name_key_rule_and_value(learner, message):
    with pytest.raises(SpecError, match=message):
        spec(**learner)
