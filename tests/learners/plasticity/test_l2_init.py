from __future__ import annotations

from numpy_mlp import SEEDS, agree, gradient, learned, learner, shown, weights

RATE, STRENGTH = 0.2, 0.3


def test_three_tasks_are_learned_as_the_equation_says() -> None:
    fresh, made = learner("l2-init", strength=STRENGTH), learned(learner("l2-init", strength=STRENGTH))
    for seed in range(len(SEEDS)):
        start = p = weights(fresh, seed)
        for task in (1, 2, 3):
            for x, y, classes in shown(task, seed):
                g = gradient(p, x, y, classes)
                p = {n: v - RATE * (g[n] + 2 * STRENGTH * (v - start[n])) for n, v in p.items()}
        agree(made, seed, p)
