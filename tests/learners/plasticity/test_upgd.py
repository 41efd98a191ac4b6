from __future__ import annotations

import numpy as np
from numpy_mlp import SEEDS, agree, gradient, learned, learner, shown, weights

from nlbench import seeds

RATE, DECAY, NOISE, WEIGHT_DECAY = 0.2, 0.9, 0.1, 0.05
CONFIG = {"decay": DECAY, "noise": NOISE, "optimizer": {"kind": "sgd", "rate": RATE, "weight_decay": WEIGHT_DECAY}}


def test_three_tasks_are_learned_as_the_algorithm_says() -> None:
    fresh, made = learner("upgd", **CONFIG), learned(learner("upgd", **CONFIG))
    for seed in range(len(SEEDS)):
        p, step = weights(fresh, seed), 0
        utility = {name: np.zeros_like(value) for name, value in p.items()}
        for task in (1, 2, 3):
            for x, y, classes in shown(task, seed):
                step += 1
                g = gradient(p, x, y, classes)
                utility = {n: DECAY * u - (1 - DECAY) * g[n] * p[n] for n, u in utility.items()}
                corrected = {n: u / (1 - DECAY**step) for n, u in utility.items()}
                most = max(u.max() for u in corrected.values())
                flat = NOISE * seeds.normal(SEEDS, f"learner/upgd/{step}", (sum(v.size for v in p.values()),))[seed]
                moved, first = {}, 0
                for n, v in p.items():
                    noise = flat[first : first + v.size].reshape(v.shape)
                    first += v.size
                    free = 1 - 1 / (1 + np.exp(-corrected[n] / most))
                    moved[n] = v - RATE * ((g[n] + noise) * free + WEIGHT_DECAY * v)
                p = moved
        agree(made, seed, p)


def test_a_useful_weight_moves_less() -> None:
    made = learner("upgd", noise=0.0)
    for value in made.utilities.values():
        value.fill_(0.0)
    made.utilities["head.weight"][:] = 1e6
    ones = {name: value.detach().new_ones(value.shape) for name, value in made.parameters.items()}
    found = made.adjust(ones)
    assert (found["head.weight"] < 0.3).all()
    assert (found["layer0.weight"] > 0.49).all()
