from __future__ import annotations

from functools import partial

import numpy as np
import torch
from method_contract import a_seed_alone_is_as_among_others, it_resumes_bit_equal_within_a_task
from numpy_mlp import SEEDS, agree, answers, gradient, learned, learner, shown, weights

from nlbench.learners.projections.owm import close

RATE, ALPHA = 0.2, 0.3


def test_three_tasks_are_learned_as_the_equations_say() -> None:
    start = learner("owm", alpha=ALPHA)
    for seed in range(len(SEEDS)):
        p = weights(start, seed)
        projectors = {"layer0": np.eye(6), "head": np.eye(7)}
        for task in (1, 2, 3):
            for x, y, classes in shown(task, seed):
                g, hidden = gradient(p, x, y, classes), answers(p, x)[0]
                for layer, inputs in (("layer0", x), ("head", hidden)):
                    P, r = projectors[layer], np.append(inputs.mean(0), 1.0)
                    k = P @ r
                    P = P - np.outer(k, k) / (ALPHA + r @ k)
                    both = np.hstack([g[f"{layer}.weight"], g[f"{layer}.bias"][:, None]]) @ P
                    p[f"{layer}.weight"] = p[f"{layer}.weight"] - RATE * both[:, :-1]
                    p[f"{layer}.bias"] = p[f"{layer}.bias"] - RATE * both[:, -1]
                    projectors[layer] = P
        made = learned(learner("owm", alpha=ALPHA))
        agree(made, seed, p)
        for layer, projector in projectors.items():
            np.testing.assert_allclose(made.matrices[layer][seed], projector, rtol=1e-3, atol=1e-5)


def test_inputs_at_once_are_inputs_one_after_another() -> None:
    inputs = torch.randn(2, 9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    once, each = (torch.eye(5, dtype=torch.float64).repeat(2, 1, 1) for _ in "ab")
    close(once, inputs, ALPHA)
    for row in inputs.split(1, 1):
        close(each, row, ALPHA)
    torch.testing.assert_close(once, each)
    wanted = [np.linalg.inv(np.eye(5) + own.T @ own / ALPHA) for own in inputs.numpy()]
    np.testing.assert_allclose(once, wanted, rtol=1e-9, atol=1e-12)


def test_a_convolution_closes_the_mean_of_each_patch() -> None:
    from nlbench import Batch, Problem
    from nlbench.learners.projections.config import OwmConfig
    from nlbench.learners.projections.owm import Owm

    network = {"kind": "convolutional", "channels": [2]}
    config = OwmConfig.model_validate({"kind": "owm", "network": network, "alpha": ALPHA})
    made = Owm(config, Problem((1, 4, 4), 3, (0, 1), "class-il", torch.device("cpu"), "auto", 5))
    inputs = torch.randn(2, 6, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    made.observe(Batch(inputs, torch.arange(6).remainder(3).repeat(2, 1), torch.ones(3, dtype=torch.bool), None))
    for s in range(2):
        padded = np.pad(inputs[s, :, 0].double().numpy(), ((0, 0), (1, 1), (1, 1)))
        patches = np.stack([np.append(padded[:, i : i + 3, j : j + 3].mean(0), 1.0) for i in range(4) for j in range(4)])
        wanted = np.linalg.inv(np.eye(10) + patches.T @ patches / ALPHA)
        np.testing.assert_allclose(made.matrices["convolution0"][s], wanted, rtol=1e-3, atol=1e-5)


def test_a_seed_alone_equals_it_among_others_and_it_resumes() -> None:
    a_seed_alone_is_as_among_others(partial(learner, "owm"))
    it_resumes_bit_equal_within_a_task(partial(learner, "owm"))
    it_resumes_bit_equal_within_a_task(partial(learner, "owm", head="task", scenario="task-il"), told=True)
