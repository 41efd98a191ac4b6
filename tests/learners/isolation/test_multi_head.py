from __future__ import annotations

import torch
from numpy_mlp import SEEDS, agree, batches, gradient, learned, learner, shown, started, weights


def test_three_tasks_are_learned_each_by_its_own_head() -> None:
    made, fresh = learned(learner("multi-head", scenario="task-il"), told=True), started("multi-head")
    for seed in range(len(SEEDS)):
        p = weights(fresh, seed)
        for task in (1, 2, 3):
            for x, y, classes in shown(task, seed, told=True):
                g = gradient(p, x, y, classes, f"head.{task}")
                p = {name: value - 0.2 * g[name] if name in g else value for name, value in p.items()}
        agree(made, seed, p)


def test_it_answers_by_the_head_of_the_task_it_is_told() -> None:
    made = learned(learner("multi-head", scenario="task-il"), told=True)
    x = next(iter(batches(1))).inputs
    with torch.no_grad():
        assert not torch.allclose(made.predict(x, 1), made.predict(x, 3), atol=0.01)
