from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from method_contract import a_seed_alone_is_as_among_others, it_resumes_bit_equal_within_a_task
from numpy_mlp import learned, learner
from pydantic import ValidationError

from nlbench.learners.gradient_config import GradientConfig
from nlbench.learners.optimizers import build
from nlbench.learners.schedules import scheduled

SCHEDULES: list[tuple[dict[str, Any], Callable[[int], float]]] = [
    ({"kind": "constant", "steps": 7}, lambda step: 1.0),
    ({"kind": "constant", "steps": 7, "warm_up": 3}, lambda step: min(1, (step + 1) / 4)),
    ({"kind": "cosine", "steps": 7}, lambda step: (1 + np.cos(np.pi * step / 7)) / 2),
    (
        {"kind": "cosine", "steps": 7, "warm_up": 2, "least": 0.1},
        lambda step: min(1, (step + 1) / 3) * (0.1 + 0.9 * (1 + np.cos(np.pi * max(0, step - 2) / 5)) / 2),
    ),
    (
        {"kind": "step", "steps": 7, "warm_up": 1, "every": 2, "drop": 0.5},
        lambda step: min(1, (step + 1) / 2) * 0.5 ** (max(0, step - 1) // 2),
    ),
]


@pytest.mark.parametrize(("schedule", "share"), SCHEDULES)
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_schedule_is_torch_s_optimizer_at_the_rate_of_each_step(
    schedule: dict[str, Any], share: Callable[[int], float], kind: str
) -> None:
    """Two cycles and a half, momentum and decay of weights included."""
    declared = GradientConfig.model_validate({"optimizer": {"kind": kind, "weight_decay": 0.1}, "schedule": schedule})
    made = scheduled(build(declared.optimizer), declared.schedule)
    draw = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(2, 3, 4, generator=draw), torch.randn(17, 2, 3, 4, generator=draw)
    parameters = {"w": start.clone()}
    slots = made.initial(parameters)
    value = torch.nn.Parameter(start.clone())
    theirs = (torch.optim.SGD if kind == "sgd" else torch.optim.AdamW)([value], lr=1.0, weight_decay=0.1)
    for step, gradient in enumerate(gradients):
        made.step(parameters, {"w": gradient}, slots, 0.3)
        theirs.param_groups[0]["lr"], value.grad = 0.3 * share(step % 7), gradient.clone()
        theirs.step()
        torch.testing.assert_close(parameters["w"], value.detach(), rtol=1e-5, atol=1e-6)


def test_a_scheduled_learner_resumes_bit_equal_and_its_heads_to_come_follow_it() -> None:
    cosine = {"kind": "cosine", "steps": 4, "warm_up": 1}
    made = partial(learner, "naive", schedule=cosine)
    it_resumes_bit_equal_within_a_task(made)
    it_resumes_bit_equal_within_a_task(partial(made, head="task", scenario="task-il"), told=True)
    a_seed_alone_is_as_among_others(made)
    one, other = learned(made()), learned(learner("naive"))
    assert not torch.allclose(one.parameters["layer0.weight"], other.parameters["layer0.weight"], atol=1e-3)


@pytest.mark.parametrize("kind", ["levels", "gdumb", "mir"])
def test_a_method_with_rates_of_its_own_refuses_a_schedule(kind: str) -> None:
    with pytest.raises(ValidationError, match="schedule: does not go with it"):
        learner(kind, schedule={"kind": "constant", "steps": 5})


def test_a_cycle_shorter_than_its_warm_up_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"warm_up: must be less than the 3 steps"):
        learner("naive", schedule={"kind": "cosine", "steps": 3, "warm_up": 3})
