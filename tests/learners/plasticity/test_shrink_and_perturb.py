from __future__ import annotations

import torch
from numpy_mlp import SEEDS, agree, batches, gradient, learned, learner, shown, weights

from nlbench import seeds

RATE, CONFIG = 0.2, {"keep": 0.7, "noise": 0.05}


def test_three_tasks_are_learned_as_the_equation_says() -> None:
    fresh, made = learner("shrink-and-perturb", **CONFIG), learned(learner("shrink-and-perturb", **CONFIG))
    for seed in range(len(SEEDS)):
        p = weights(fresh, seed)
        for task in (1, 2, 3):
            if task > 1:
                drawn = {n: seeds.normal(SEEDS, f"learner/perturb/{task - 1}/{n}", v.shape)[seed] for n, v in p.items()}
                p = {n: 0.7 * v + 0.05 * drawn[n] for n, v in p.items()}
            for x, y, classes in shown(task, seed):
                g = gradient(p, x, y, classes)
                p = {n: v - RATE * g[n] for n, v in p.items()}
        agree(made, seed, p)


def test_what_was_learned_is_whole_until_the_next_batch_comes() -> None:
    made = learner("shrink-and-perturb", **CONFIG)
    with torch.no_grad():
        for batch in batches(1):
            made.observe(batch)
        before = made.predict(batch.inputs, None)
        made.end_task()
        assert torch.equal(made.predict(batch.inputs, None), before)
