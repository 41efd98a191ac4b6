from __future__ import annotations

import numpy as np
from numpy_mlp import SEEDS, agree, gradient, learned, learner, shown, weights

RATE, STRENGTH, DAMPING, MOMENTUM = 0.1, 0.5, 0.01, 0.5
CONFIG = {"strength": STRENGTH, "damping": DAMPING, "optimizer": {"kind": "sgd", "rate": RATE, "momentum": MOMENTUM}}


def test_three_tasks_are_learned_as_the_equations_say() -> None:
    """With momentum, so that a move is not the gradient times a number."""
    start, made = learner("si", **CONFIG), learned(learner("si", **CONFIG))
    for seed in range(len(SEEDS)):
        p = weights(start, seed)
        velocity, omega, work = ({name: np.zeros_like(value) for name, value in p.items()} for _ in range(3))
        mean = p
        for task in (1, 2, 3):
            for x, y, classes in shown(task, seed):
                g = gradient(p, x, y, classes)
                for n in p:
                    velocity[n] = MOMENTUM * velocity[n] + g[n] + 2 * STRENGTH * omega[n] * (p[n] - mean[n])
                moved = {n: v - RATE * velocity[n] for n, v in p.items()}
                work = {n: w - g[n] * (moved[n] - p[n]) for n, w in work.items()}
                p = moved
            for n in p:
                omega[n] = omega[n] + np.maximum(work[n], 0) / ((p[n] - mean[n]) ** 2 + DAMPING)
                work[n] = np.zeros_like(work[n])
            mean = p
        agree(made, seed, p)
        assert all((value > 0).any() for value in omega.values())
