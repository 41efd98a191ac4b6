from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy_mlp import SEEDS, Weights, agree, gradient, learned, learner, shown, weights

from nlbench.learners.penalties.rwalk import normalised

RATE, STRENGTH, DAMPING, NEWEST, EVERY = 0.2, 0.5, 1e-3, 0.8, 2
CONFIG = {"strength": STRENGTH, "damping": DAMPING, "forget": NEWEST, "every": EVERY}


def scaled(tree: Weights) -> Weights:
    flat = np.concatenate([value.ravel() for value in tree.values()])
    return {name: (value - flat.min()) / (flat.max() - flat.min()) for name, value in tree.items()}


@pytest.mark.parametrize("scores", [True, False])
def test_three_tasks_are_learned_as_the_equations_say(scores: bool) -> None:
    start, made = learner("rwalk", **CONFIG), learned(learner("rwalk", scores=scores, **CONFIG))
    for seed in range(len(SEEDS)):
        p = weights(start, seed)
        omega, fisher, averaged = ({name: np.zeros_like(value) for name, value in p.items()} for _ in range(3))
        mean, first = p, True
        for task in (1, 2, 3):
            score, work, squares = ({name: np.zeros_like(value) for name, value in p.items()} for _ in range(3))
            last = p
            for step, (x, y, classes) in enumerate(shown(task, seed), 1):
                g = gradient(p, x, y, classes)
                moved = {n: v - RATE * (g[n] + 2 * STRENGTH * omega[n] * (v - mean[n])) for n, v in p.items()}
                for n in p:
                    work[n] = work[n] - g[n] * (moved[n] - p[n])
                    squares[n] = squares[n] + g[n] ** 2
                p = moved
                if step % EVERY == 0:
                    for n in p:
                        score[n] = score[n] + np.maximum(work[n], 0) / (fisher[n] * (p[n] - last[n]) ** 2 / 2 + DAMPING)
                        newest = 1.0 if first else NEWEST
                        fisher[n] = newest * squares[n] / EVERY + (1 - newest) * fisher[n]
                        work[n], squares[n] = np.zeros_like(work[n]), np.zeros_like(work[n])
                    last, first = p, False
            averaged = score if task == 1 else {n: (averaged[n] + score[n]) / 2 for n in p}
            omega = {n: scaled(fisher)[n] + (scaled(averaged)[n] if scores else 0.0) for n in p}
            mean = p
        agree(made, seed, p)


def test_values_of_a_seed_come_to_lie_between_0_and_1() -> None:
    tree = {"a": torch.tensor([[1.0, 3.0], [5.0, 5.0]]), "b": torch.tensor([[[2.0]], [[5.0]]])}
    found = normalised(tree)
    assert found["a"].tolist() == [[0.0, 1.0], [0.0, 0.0]]
    assert found["b"].tolist() == [[[0.5]], [[0.0]]]
