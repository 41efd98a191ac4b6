from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from method_contract import a_seed_alone_is_as_among_others, it_resumes_bit_equal_within_a_task
from numpy_mlp import SEEDS, TASKS, learned, learner, weights
from scaled_numpy import LAYERS, Scaled

from nlbench.learners.projections.cuber import Cuber
from nlbench.learners.projections.trgp import scale

SETTINGS = {"thresholds": (0.7, 0.8), "related": 2, "sufficient": 0.2, "aligned": -0.3, "strength": 0.1}
TOLD = partial(learner, scenario="task-il")


def it_is_learned_so(**settings: float) -> list[Scaled]:
    made = learned(TOLD("cuber", **{**SETTINGS, **settings}), told=True)
    wanted = [Scaled(weights(TOLD("cuber"), seed), rate=0.2, **{**SETTINGS, **settings}) for seed in range(len(SEEDS))]
    for seed, each in enumerate(wanted):
        each.learn(seed)
        for name, value in each.weights.items():
            np.testing.assert_allclose(made.parameters[name][seed].detach(), value, rtol=1e-3, atol=1e-4, err_msg=name)
        for layer in LAYERS:
            np.testing.assert_allclose(made.past[layer][seed], np.stack(each.past[layer]), rtol=1e-3, atol=1e-4)
            axes, C = (tree[seed].detach() for tree in (made.matrices[layer], made.parameters[scale(TASKS, layer)]))
            np.testing.assert_allclose(
                np.eye(len(axes)) + (axes @ C @ axes.mT).numpy(), each.factor(layer, TASKS), rtol=1e-3, atol=1e-4
            )
    return wanted


@pytest.mark.parametrize("settings", [{}, {"strength": 0.0}, {"strength": 1.0}, {"aligned": -0.9}, {"aligned": 0.9}])
def test_three_tasks_are_learned_as_the_equations_say(settings: dict[str, float]) -> None:
    it_is_learned_so(**settings)


def test_weights_move_within_what_a_helped_task_spans_and_only_so() -> None:
    one, other = (learned(TOLD("cuber", **{**SETTINGS, "aligned": each}), told=True) for each in (-0.9, 0.999))
    assert any(value.any() for value in one.helped.values())
    assert not any(value.any() for value in other.helped.values())
    alike = learned(TOLD("trgp", **{key: SETTINGS[key] for key in ("thresholds", "related", "sufficient")}), told=True)
    for name, value in alike.parameters.items():  # where no task is helped it is TRGP
        torch.testing.assert_close(other.parameters[name], value, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(one.parameters["layer0.weight"], alike.parameters["layer0.weight"], atol=1e-3)


@pytest.mark.parametrize("fault", ["no penalty", "helped for good", "gradients of nothing", "former weights of nothing"])
def test_a_planted_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden, begin = Cuber.forbidden, Cuber.begin

    def changed(self: Cuber, layer: str, whole: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
        if fault == "no penalty":
            self._strength = 0.0
        found = forbidden(self, layer, whole, along)
        if fault == "helped for good":
            self.helped[layer] = self.trusted[layer].clone()
        return found

    def begun(self: Cuber, layers: list[str]) -> None:
        begin(self, layers)
        for tree in {"gradients of nothing": [self.past], "former weights of nothing": [self.start]}.get(fault, []):
            for value in tree.values():
                value.zero_()

    monkeypatch.setattr(Cuber, "forbidden", changed)
    monkeypatch.setattr(Cuber, "begin", begun)
    with pytest.raises(AssertionError):
        it_is_learned_so()


def test_a_seed_alone_equals_it_among_others_and_it_resumes() -> None:
    a_seed_alone_is_as_among_others(partial(TOLD, "cuber", **SETTINGS), told=True)
    it_resumes_bit_equal_within_a_task(partial(TOLD, "cuber", samples=7), told=True)
    it_resumes_bit_equal_within_a_task(partial(TOLD, "cuber", head="task"), told=True)
