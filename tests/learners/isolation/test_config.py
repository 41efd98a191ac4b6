from __future__ import annotations

import pytest
from pydantic import ValidationError

from nlbench.learners.isolation.config import HatConfig, PackNetConfig


def test_each_task_has_a_head() -> None:
    assert PackNetConfig(kind="packnet").head == "task"
    with pytest.raises(ValidationError, match='head: must be "task", got "one"'):
        PackNetConfig(kind="packnet", head="one")


@pytest.mark.parametrize("optimizer", [{"kind": "adam"}, {"kind": "sgd", "weight_decay": 0.1}])
def test_gated_gradients_take_no_optimizer_that_moves_weights_without_one(optimizer: dict[str, object]) -> None:
    assert HatConfig.model_validate({"kind": "hat", "optimizer": {"kind": "sgd", "momentum": 0.9}})
    with pytest.raises(ValidationError, match="optimizer: must be sgd without weight decay"):
        HatConfig.model_validate({"kind": "hat", "optimizer": optimizer})
