from __future__ import annotations

import numpy as np
import pytest
from numpy_mlp import SEEDS, agree, answers, backward, gradient, learned, learner, shown, weights

RATE, STRENGTH = 0.2, 0.3


@pytest.mark.parametrize(("together", "decay"), [(1, 1.0), (1, 0.0), (20, 1.0), (20, 0.5)])
def test_three_tasks_are_learned_as_the_equations_say(together: int, decay: float) -> None:
    config = {"strength": STRENGTH, "together": together, "decay": decay}
    start, made = learner("mas", **config), learned(learner("mas", **config))
    for seed in range(len(SEEDS)):
        p = weights(start, seed)
        omega = {name: np.zeros_like(value) for name, value in p.items()}
        mean = p
        for task in (1, 2, 3):
            for x, y, classes in shown(task, seed):
                g = gradient(p, x, y, classes)
                p = {n: v - RATE * (g[n] + 2 * STRENGTH * omega[n] * (v - mean[n])) for n, v in p.items()}
            samples = np.concatenate([xs for xs, _, _ in shown(task, seed)])
            omega = {name: decay * value for name, value in omega.items()}
            for x in np.split(samples, len(samples) // together):
                for name, slope in backward(p, x, 2 * answers(p, x)[1]).items():
                    omega[name] = omega[name] + np.abs(slope) / len(samples)
            mean = p
        agree(made, seed, p)
        assert all((value > 0).any() for value in omega.values())
