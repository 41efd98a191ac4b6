from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from method_contract import a_seed_alone_is_as_among_others, it_resumes_bit_equal_within_a_task
from numpy_mlp import HIDDEN, SEEDS, STEPS, agree, batches, learned, learner, shown, softmax, started, weights
from small_streams import CPU

from nlbench import Batch, Problem, catalog
from nlbench.errors import NlbenchError
from nlbench.learners.building import build

RATE, STEEPNESS, SPARSITY = 0.2, 20.0, 0.3
CONFIG = {"steepness": STEEPNESS, "sparsity": SPARSITY, "anneal": STEPS, "optimizer": {"kind": "sgd", "rate": RATE}}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def make(**more: object):
    return learner("hat", scenario="task-il", **{**CONFIG, **more})


def test_three_tasks_are_learned_as_the_equations_say() -> None:
    made, fresh = learned(make(), told=True), started("hat", **CONFIG)
    for task in (1, 2, 3):
        fresh.take_in({f"gate.{task}.layer0": fresh._embedding("layer0", task)})
    for seed in range(len(SEEDS)):
        p, used = weights(fresh, seed), np.zeros(HIDDEN)
        for task in (1, 2, 3):
            head, name = f"head.{task}", f"gate.{task}.layer0"
            for step, (x, y, classes) in enumerate(shown(task, seed, told=True)):
                s = 1 / STEEPNESS + (STEEPNESS - 1 / STEEPNESS) * step / (STEPS - 1)
                gate = sigmoid(s * p[name])
                plain = np.maximum(x @ p["layer0.weight"].T + p["layer0.bias"], 0)
                hidden = plain * gate
                slopes = softmax(hidden @ p[f"{head}.weight"].T + p[f"{head}.bias"], classes)
                slopes[np.arange(len(y)), y] -= 1
                slopes /= len(y)
                above = slopes @ p[f"{head}.weight"]
                below = above * gate * (plain > 0) * (1 - used)
                left = (1 - used).sum()
                by_gate = (above * plain).sum(0) + SPARSITY * (1 - used) / left
                e_gradient = by_gate * s / (2 * (np.cosh(s * p[name]) + 1))  # the slope of a sigmoid
                e_gradient *= STEEPNESS / s * (np.cosh(s * p[name]) + 1) / (np.cosh(p[name]) + 1)
                moved = {
                    "layer0.weight": below.T @ x,
                    "layer0.bias": below.sum(0),
                    f"{head}.weight": slopes.T @ hidden,
                    f"{head}.bias": slopes.sum(0),
                    name: e_gradient,
                }
                p = {n: v - RATE * moved[n] if n in moved else v for n, v in p.items()}
                p[name] = p[name].clip(-6, 6)
            used = np.maximum(used, sigmoid(STEEPNESS * p[name]))
        agree(made, seed, p, 1e-4)
        np.testing.assert_allclose(made.used["layer0"][seed], used, atol=1e-3)


def test_a_seed_alone_is_as_among_others_and_it_resumes() -> None:
    a_seed_alone_is_as_among_others(make, told=True)
    it_resumes_bit_equal_within_a_task(partial(make, optimizer={"kind": "sgd", "rate": 0.1, "momentum": 0.9}), told=True)


@pytest.mark.parametrize("network", [{"kind": "mlp", "hidden": [6, 5]}, {"kind": "convolutional", "channels": [3, 4]}])
def test_what_a_task_answers_stays_as_it_is_whatever_is_learned_then(network: dict[str, object]) -> None:
    config = catalog.config("learners", "hat").model_validate(
        {"kind": "hat", "network": network, "anneal": 10, "optimizer": {"kind": "sgd", "rate": 0.3, "momentum": 0.9}}
    )
    made = build(config, Problem((1, 8, 8), 4, SEEDS, "task-il", CPU, "auto", 10))
    draw, answers = torch.Generator().manual_seed(0), {}
    x = torch.randn(3, 5, 1, 8, 8, generator=draw)
    with torch.no_grad():
        for task in (1, 2, 3):
            for _ in range(10):
                inputs, labels = torch.randn(3, 5, 1, 8, 8, generator=draw), torch.randint(4, (3, 5), generator=draw)
                made.observe(Batch(inputs, labels, torch.ones(4).bool(), task))
            made.end_task()
            answers[task] = made.predict(x, task)
        for task, before in answers.items():
            torch.testing.assert_close(made.predict(x, task), before, rtol=1e-2, atol=1e-2)
        assert not torch.allclose(answers[1], answers[2], atol=0.1)


def test_a_network_that_is_no_chain_is_refused() -> None:
    config = catalog.config("learners", "hat").model_validate({"kind": "hat", "network": {"kind": "resnet18", "width": 4}})
    with pytest.raises(NlbenchError, match="hat needs layers that are a chain"):
        build(config, Problem((1, 8, 8), 4, SEEDS, "task-il", CPU, "auto", 10))


def test_a_task_that_was_never_learned_is_answered_without_gates() -> None:
    made = learned(make(), tasks=(1,), told=True)
    x = next(iter(batches(1))).inputs
    with torch.no_grad():
        assert made.predict(x, 3).shape == (3, 4, 4)
