from __future__ import annotations

from functools import partial

import numpy as np
import torch
from method_contract import a_seed_alone_is_as_among_others, it_resumes_bit_equal_within_a_task, nothing_is_as_naive
from numpy_mlp import SEEDS, TASKS, Array, agree, answers, basis, batches, gradient, learned, learner, shown, weights

RATE, THRESHOLDS = 0.2, (0.8, 0.95)


def with_one(x: Array) -> Array:
    return np.hstack([x, np.ones((len(x), 1))])


def test_three_tasks_are_learned_as_the_equations_say() -> None:
    start = learner("gpm", thresholds=THRESHOLDS)
    made = learned(learner("gpm", thresholds=THRESHOLDS))
    for seed in range(len(SEEDS)):
        p = weights(start, seed)
        memories = {"layer0": np.zeros((6, 0)), "head": np.zeros((7, 0))}
        for task in range(1, TASKS + 1):
            for x, y, classes in shown(task, seed):
                g = gradient(p, x, y, classes)
                for layer, M in memories.items():
                    both = np.hstack([g[f"{layer}.weight"], g[f"{layer}.bias"][:, None]])
                    both -= both @ M @ M.T
                    p[f"{layer}.weight"] = p[f"{layer}.weight"] - RATE * both[:, :-1]
                    p[f"{layer}.bias"] = p[f"{layer}.bias"] - RATE * both[:, -1]
            everything = np.concatenate([x for x, _, _ in shown(task, seed)])
            for (layer, M), inputs, threshold in zip(
                memories.items(), (everything, answers(p, everything)[0]), THRESHOLDS, strict=True
            ):
                memories[layer] = basis(M, with_one(inputs), threshold)
        agree(made, seed, p, tolerance=1e-4)
        for layer, M in memories.items():
            assert M.shape[1] > 0
            np.testing.assert_allclose(made.matrices[layer][seed], M @ M.T, rtol=1e-3, atol=1e-4)


def test_what_is_spanned_whole_is_answered_as_before() -> None:
    """Inputs in a plane: after the first task no answer to them moves, and the network still learns other inputs."""
    made = learner("gpm", thresholds=(1.0, 1.0))
    flat = list(batches(1))
    for batch in flat:
        batch.inputs[..., 2:] = 0.0
        made.observe(batch)
    made.end_task()
    x = flat[0].inputs
    before, matrices = made.predict(x, None), {layer: value.clone() for layer, value in made.matrices.items()}
    start = made.parameters["layer0.weight"].detach().clone()
    for batch in batches(2):
        made.observe(batch)
    torch.testing.assert_close(made.predict(x, None), before, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(made.parameters["layer0.weight"], start, atol=1e-3)
    assert matrices["layer0"].diagonal(dim1=1, dim2=2).sum(1).round().tolist() == [3.0] * len(SEEDS)  # a plane, and the bias


def test_a_threshold_that_nothing_reaches_is_naive() -> None:
    tiny = {"thresholds": [1e-6]}
    made = learned(learner("gpm", **tiny), tasks=(1,))
    assert all(value.diagonal(dim1=1, dim2=2).sum(1).round().tolist() == [1.0] * 3 for value in made.matrices.values())

    def untold(**given: object) -> object:
        made = learner("gpm", **given)
        made.end_task = lambda: None
        return made

    nothing_is_as_naive(untold, partial(learner, "naive"))


def test_a_seed_alone_equals_it_among_others_and_it_resumes() -> None:
    a_seed_alone_is_as_among_others(partial(learner, "gpm"))
    it_resumes_bit_equal_within_a_task(partial(learner, "gpm", samples=7))
    it_resumes_bit_equal_within_a_task(partial(learner, "gpm", head="task", scenario="task-il"), told=True)


def test_samples_of_the_present_task_are_billed() -> None:
    assert learner("gpm", samples=10).memory_bytes()["samples"] > 10 * 5 * 4
