from __future__ import annotations

import numpy as np
import torch
from numpy_mlp import SEEDS, agree, answers, backward, gradient, learned, learner, shown, softmax, weights

from nlbench.learners.penalties.lwf import distillation

RATE, STRENGTH, T = 0.2, 0.7, 2.0


def test_three_tasks_of_one_head_are_learned_as_the_equations_say() -> None:
    start, made = learner("lwf", strength=STRENGTH), learned(learner("lwf", strength=STRENGTH))
    for seed in range(len(SEEDS)):
        p, before = weights(start, seed), None
        met: set[int] = set()
        for task in (1, 2, 3):
            old = np.isin(np.arange(4), list(met))
            for x, y, classes in shown(task, seed):
                g = gradient(p, x, y, classes)
                if before is not None:
                    now, then = (softmax(answers(each, x)[1] / T, old) for each in (p, before))
                    for name, slope in backward(p, x, STRENGTH * (now - then) / T / len(x)).items():
                        g[name] = g[name] + slope
                p = {name: value - RATE * g[name] for name, value in p.items()}
                met |= set(y.tolist())
            before = p
        agree(made, seed, p)


def test_three_tasks_of_a_head_each_are_learned_as_the_equations_say() -> None:
    config = {"strength": STRENGTH, "scenario": "task-il", "head": "task"}
    fresh = learner("lwf", **config)
    for task in (1, 2, 3):
        fresh.take_in(fresh.head.initial(task))
    made = learned(learner("lwf", **config), told=True)
    for seed in range(len(SEEDS)):
        p, before = weights(fresh, seed), None
        for task in (1, 2, 3):
            for x, y, classes in shown(task, seed, told=True):
                g = gradient(p, x, y, classes, f"head.{task}")
                for k in range(1, task):
                    own = np.arange(4) // 2 == (k - 1) % 2
                    now, then = (softmax(answers(each, x, f"head.{k}")[1] / T, own) for each in (p, before))
                    for name, slope in backward(p, x, STRENGTH * (now - then) / T / len(x), f"head.{k}").items():
                        g[name] = g.get(name, 0) + slope
                p = {name: value - RATE * g[name] if name in g else value for name, value in p.items()}
            before = p
        agree(made, seed, p)


def test_distillation_is_least_at_the_same_answers_and_sees_no_other_class() -> None:
    then = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([[True, True, False, True], [True, False, True, True]])
    same = distillation(then, then, classes, 2.0)
    other = then.clone()
    other[0, :, 2] += 9
    torch.testing.assert_close(distillation(other, then, classes, 2.0), same)
    assert (distillation(then.flip(2), then, classes, 2.0) > same).all()
