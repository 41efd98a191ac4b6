from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from method_contract import a_seed_alone_is_as_among_others, it_resumes_bit_equal_within_a_task
from numpy_mlp import SEEDS, agree, batches, gradient, learned, learner, shown, started, weights

from nlbench.errors import NlbenchError

RATE, PRUNED, AFTER = 0.2, 0.6, 3
CONFIG = {"pruned": PRUNED, "prune_after": AFTER}


def make(**more: object):
    return learner("packnet", scenario="task-il", **{**CONFIG, **more})


def test_three_tasks_are_learned_as_the_method_says() -> None:
    made, fresh = learned(make(), told=True), started("packnet", **CONFIG)
    for seed in range(len(SEEDS)):
        p = weights(fresh, seed)
        owner = np.zeros(p["layer0.weight"].shape, int)
        for task in (1, 2, 3):
            for step, (x, y, classes) in enumerate(shown(task, seed, told=True), 1):
                g = gradient(p, x, y, classes, f"head.{task}")
                g["layer0.weight"] = g["layer0.weight"] * (owner == (0 if step <= AFTER else task))
                if task > 1 or step > AFTER:
                    g["layer0.bias"] = 0 * g["layer0.bias"]
                p = {n: v - RATE * g[n] if n in g else v for n, v in p.items()}
                if step == AFTER:
                    free = np.flatnonzero(owner == 0)
                    order = free[np.argsort(-np.abs(p["layer0.weight"].flat[free]))]
                    kept = order[: len(free) - round(PRUNED * len(free))]
                    owner.flat[kept] = task
                    p["layer0.weight"] = p["layer0.weight"] * (owner > 0)
        agree(made, seed, p)
        assert (made.owners["layer0.weight"][seed].numpy() == owner).all()


def test_a_seed_alone_is_as_among_others_and_it_resumes() -> None:
    a_seed_alone_is_as_among_others(make, told=True)
    it_resumes_bit_equal_within_a_task(partial(make, optimizer={"kind": "adam", "rate": 0.01}), told=True)


@pytest.mark.parametrize("optimizer", [{"kind": "sgd", "momentum": 0.9, "weight_decay": 0.1}, {"kind": "adam", "rate": 0.05}])
def test_what_a_task_answers_stays_bit_equal_whatever_is_learned_then(optimizer: dict[str, object]) -> None:
    made, answers = make(optimizer=optimizer), {}
    x = next(iter(batches(1))).inputs
    with torch.no_grad():
        for task in (1, 2, 3):
            learned(made, tasks=(task,), told=True)
            answers[task] = made.predict(x, task)
        for task, before in answers.items():
            assert torch.equal(made.predict(x, task), before)
    assert not torch.allclose(answers[1], answers[3], atol=0.01)


def test_a_task_that_ends_early_is_pruned_then_and_one_that_comes_again_trains_its_own_weights() -> None:
    made = learned(make(prune_after=99), tasks=(1,), told=True)
    owners = made.owners["layer0.weight"]
    assert (owners == 1).flatten(1).sum(1).tolist() == [12, 12, 12]
    learned(made, tasks=(2,), told=True)
    before = {name: value.detach().clone() for name, value in made.parameters.items()}
    learned(made, tasks=(1,), told=True)
    moved = made.parameters["layer0.weight"].detach() != before["layer0.weight"]
    assert moved.any()
    assert not moved[owners != 1].any()


def test_more_tasks_than_a_byte_tells_apart_are_refused() -> None:
    made = make()
    made.places = {task: task for task in range(1, 256)}
    with pytest.raises(NlbenchError, match="255 tasks"):
        made.observe(replace(next(iter(batches(1, told=True))), task=999))
