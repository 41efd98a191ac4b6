from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from method_contract import a_seed_alone_is_as_among_others, it_resumes_bit_equal_within_a_task, nothing_is_as_naive
from numpy_mlp import learned, learner, weights

METHODS = {
    "l2-init": {"strength": 0.1},
    "shrink-and-perturb": {},
    "continual-backprop": {"replaced": 0.1, "maturity": 3},
    "upgd": {"noise": 0.1},
}
NOTHING = {
    "l2-init": {"strength": 0.0},
    "shrink-and-perturb": {"keep": 1.0, "noise": 0.0},
    "continual-backprop": {"replaced": 0.0},
}
ADAM = {"kind": "adam", "rate": 0.01}
SETTINGS = {"one head": {}, "a head a task": {"scenario": "task-il", "head": "task"}}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("method", METHODS)
def test_a_seed_alone_is_as_among_others(method: str, setting: str) -> None:
    a_seed_alone_is_as_among_others(
        partial(learner, method, **METHODS[method], **SETTINGS[setting]), told=setting == "a head a task"
    )


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("method", METHODS)
def test_it_resumes_bit_equal_within_a_task(method: str, setting: str) -> None:
    it_resumes_bit_equal_within_a_task(
        partial(learner, method, optimizer=ADAM, **METHODS[method], **SETTINGS[setting]), told=setting == "a head a task"
    )


@pytest.mark.parametrize("method", NOTHING)
def test_doing_nothing_is_plain_fine_tuning(method: str) -> None:
    nothing_is_as_naive(partial(learner, method, **NOTHING[method], optimizer=ADAM), partial(learner, "naive", optimizer=ADAM))


@pytest.mark.parametrize("method", METHODS)
def test_the_mean_absolute_weight_is_recorded(method: str) -> None:
    made = learned(learner(method, **METHODS[method]), tasks=(1,))
    found = made.diagnostics()["weights.magnitude"]
    for seed in range(3):
        flat = np.concatenate([value.ravel() for value in weights(made, seed).values()])
        assert found[seed].item() == pytest.approx(np.abs(flat).mean(), rel=1e-5)
