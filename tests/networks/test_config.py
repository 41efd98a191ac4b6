from __future__ import annotations

import pytest
from pydantic import ValidationError

from nlbench.networks.config import ConvolutionalConfig, MemoriesConfig, MlpConfig, ModuleConfig, Resnet18Config, SequenceConfig


def test_lists_of_toml_are_taken_and_defaults_stand() -> None:
    assert MlpConfig.model_validate({"kind": "mlp", "hidden": [3, 4]}).hidden == (3, 4)
    assert Resnet18Config(kind="resnet18").width == 20
    assert ModuleConfig(kind="module", build="a:b").outputs == "logits"


@pytest.mark.parametrize(
    ("config", "table", "rule"),
    [
        (MlpConfig, {"kind": "mlp", "hidden": [0]}, "hidden"),
        (ConvolutionalConfig, {"kind": "convolutional", "channels": []}, "channels"),
        (Resnet18Config, {"kind": "resnet18", "norm": "group", "groups": 3}, "groups: must divide width 20, got 3"),
        (ModuleConfig, {"kind": "module"}, "build"),
        (ModuleConfig, {"kind": "module", "build": "a:b", "options": {"a": float("nan")}}, "options.a"),
    ],
)
def test_what_a_table_may_not_say(config: type, table: dict, rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        config.model_validate(table)


def test_a_spread_stands_only_where_one_is_said() -> None:
    plain, spread = (MlpConfig.model_validate({"kind": "mlp", **more}).model_dump(mode="json") for more in ({}, {"spread": 0.1}))
    assert "spread" not in plain
    assert spread == plain | {"spread": 0.1}


def test_what_memories_say_stands_only_where_something_is_said() -> None:
    plain = SequenceConfig(kind="sequence")
    assert "memories" not in plain.model_dump(mode="json")
    said = SequenceConfig.model_validate({"kind": "sequence", "memories": {"form": "matrix"}}).model_dump(mode="json")
    assert said["memories"] == MemoriesConfig(form="matrix").model_dump()
    with pytest.raises(ValidationError, match="attention has none"):
        SequenceConfig.model_validate({"kind": "sequence", "mixer": "attention", "memories": {}})
