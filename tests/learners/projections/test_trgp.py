from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from method_contract import a_seed_alone_is_as_among_others, it_resumes_bit_equal_within_a_task
from numpy_mlp import SEEDS, TASKS, batches, learned, learner, shown, weights
from scaled_numpy import LAYERS, Scaled

from nlbench.learners.projections import trgp
from nlbench.learners.projections.spanning import most_spanned
from nlbench.learners.projections.trgp import Trgp, scale

SETTINGS = {"thresholds": (0.7, 0.8), "related": 1, "sufficient": 0.3}
TOLD = partial(learner, scenario="task-il")


def rendered(seed: int, **settings: object) -> Scaled:
    p = weights(TOLD("trgp"), seed)
    made = Scaled(p, rate=0.2, **{**SETTINGS, **settings})
    made.learn(seed)
    return made


def it_is_learned_so(**settings: object) -> None:
    made = learned(TOLD("trgp", **{**SETTINGS, **settings}), told=True)
    for seed in range(len(SEEDS)):
        wanted = rendered(seed, **settings)
        own = {name: value for name, value in made.parameters.items() if not name.startswith("scale.")}
        for name, value in own.items():
            np.testing.assert_allclose(value[seed].detach(), wanted.weights[name], rtol=1e-3, atol=1e-4, err_msg=name)
        for task in range(2, TASKS + 1):
            for layer in LAYERS:
                axes, C = (tree[seed].detach() for tree in (made.matrices[layer], made.parameters[scale(task, layer)]))
                factor = np.eye(len(axes)) + (axes @ C @ axes.mT).numpy()
                np.testing.assert_allclose(factor, wanted.factor(layer, task), rtol=1e-3, atol=1e-4)
        assert any(Q.any() for tree in wanted.scales[TASKS].values() for Q in tree.values())


@pytest.mark.parametrize("settings", [{}, {"related": 2}, {"sufficient": 0.6}, {"thresholds": (0.9, 0.95)}])
def test_three_tasks_are_learned_as_the_equations_say(settings: dict[str, object]) -> None:
    it_is_learned_so(**settings)


@pytest.mark.parametrize("fault", ["nothing is scaled", "all tasks are trusted", "steps go along", "one basis for all"])
def test_a_planted_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted = Trgp.span
    if fault == "nothing is scaled":
        monkeypatch.setattr(trgp, "most_spanned", lambda *given: torch.zeros_like(most_spanned(*given)))
    elif fault == "all tasks are trusted":
        monkeypatch.setattr(trgp, "most_spanned", lambda *given: torch.ones_like(most_spanned(*given)))
    elif fault == "steps go along":
        monkeypatch.setattr(Trgp, "forbidden", lambda self, layer, whole, along: torch.zeros_like(along))
    else:

        def span(self: Trgp, layer: str, rows: torch.Tensor, threshold: float) -> None:
            trusted(self, layer, rows, threshold)
            self.bases[layer] |= True

        monkeypatch.setattr(Trgp, "span", span)
    with pytest.raises(AssertionError):
        it_is_learned_so()


def test_what_is_spanned_whole_is_answered_as_before_and_a_task_by_its_own_scales() -> None:
    """Inputs in a plane: later tasks scale what the first learned, and its answers stay."""
    made = TOLD("trgp", thresholds=(1.0, 1.0), sufficient=0.01)
    flat = list(batches(1, told=True))
    with torch.no_grad():
        for batch in flat:
            batch.inputs[..., 2:] = 0.0
            made.observe(batch)
        made.end_task()
        x = flat[0].inputs
        before = made.predict(x, 1)
        for batch in batches(2, told=True):
            made.observe(batch)
    torch.testing.assert_close(made.predict(x, 1), before, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(made.predict(x, 2), before, atol=1e-2)
    torch.testing.assert_close(made.predict(x, 3), before, rtol=1e-4, atol=1e-4)  # a task to come has none


def test_the_first_task_is_plain_and_a_head_a_task_is_scaled_by_nothing() -> None:
    plain, one = (learned(TOLD(kind), tasks=(1,), told=True) for kind in ("naive", "trgp"))
    for name, value in plain.parameters.items():
        torch.testing.assert_close(one.parameters[name], value)
    made = learned(TOLD("trgp", head="task"), told=True)
    assert {name for name in made.parameters if name.startswith("scale.")} == {f"scale.{task}.layer0" for task in (1, 2, 3)}
    assert all(torch.isfinite(value).all() for value in made.parameters.values())


def test_a_seed_alone_equals_it_among_others_and_it_resumes() -> None:
    a_seed_alone_is_as_among_others(partial(TOLD, "trgp"), told=True)
    it_resumes_bit_equal_within_a_task(partial(TOLD, "trgp", samples=7), told=True)
    it_resumes_bit_equal_within_a_task(partial(TOLD, "trgp", head="task"), told=True)


def test_patches_of_a_convolution_are_scaled() -> None:
    from nlbench import Batch, Problem
    from nlbench.learners.projections.config import TrgpConfig

    network = {"kind": "convolutional", "channels": [2]}
    config = TrgpConfig.model_validate({"kind": "trgp", "network": network, "thresholds": [1.0], "sufficient": 0.01})
    made = Trgp(config, Problem((1, 4, 4), 3, (0, 1), "task-il", torch.device("cpu"), "auto", 5))
    draw = torch.Generator().manual_seed(1)
    labels, classes = torch.arange(6).remainder(3).repeat(2, 1), torch.ones(3, dtype=torch.bool)
    old = torch.randn(2, 6, 1, 4, 4, generator=draw)
    old[..., :2] = 0.0  # half of each image: its patches leave directions open
    with torch.no_grad():
        made.observe(Batch(old, labels, classes, 1))
        made.end_task()
        before = made.predict(old, 1)
        for _ in range(3):
            made.observe(Batch(torch.randn(2, 6, 1, 4, 4, generator=draw), labels, classes, 2))
    torch.testing.assert_close(made.predict(old, 1), before, rtol=1e-3, atol=1e-4)
    assert made.parameters["scale.2.convolution0"].abs().max() > 1e-4
    assert not torch.allclose(made.predict(old, 2), before, atol=1e-3)


def test_shown_once_is_what_a_task_spans() -> None:
    made = learned(TOLD("trgp", thresholds=(1.0, 1.0)), tasks=(1,), told=True)
    for seed in range(len(SEEDS)):
        x = np.concatenate([x for x, _, _ in shown(1, seed, told=True)])
        assert made.bases["layer0"][seed, 0].sum() == np.linalg.matrix_rank(np.hstack([x, np.ones((len(x), 1))]))
