from __future__ import annotations

import numpy as np
import pytest
from numpy_mlp import SEEDS, Weights, agree, answers, backward, gradient, learned, learner, shown, softmax, weights

RATE, STRENGTH, DECAY = 0.2, 3.0, 0.7


def fisher(p: Weights, task: int, seed: int) -> Weights:
    """The mean over samples, in expectation over the model's own answers, of the squared slope of log p."""
    samples = [(x[None], classes) for xs, _, classes in shown(task, seed) for x in xs]
    total = {name: np.zeros_like(value) for name, value in p.items()}
    for x, classes in samples:
        shares = softmax(answers(p, x)[1], classes)
        for c in np.flatnonzero(classes):
            slopes = -shares.copy()
            slopes[0, c] += 1
            for name, slope in backward(p, x, slopes).items():
                total[name] += shares[0, c] * slope**2 / len(samples)
    return total


@pytest.mark.parametrize("terms", ["separate", "online"])
def test_three_tasks_are_learned_as_the_equations_say(terms: str) -> None:
    config = {"terms": terms, **({"decay": DECAY} if terms == "online" else {})}
    start = learner("ewc", strength=STRENGTH, **config)
    for seed in range(len(SEEDS)):
        p, ended = weights(start, seed), []
        for task in (1, 2, 3):
            for x, y, classes in shown(task, seed):
                g = gradient(p, x, y, classes)
                for f, mean, times in ended:
                    for name in g:
                        g[name] = g[name] + STRENGTH * times * f[name] * (p[name] - mean[name])
                p = {name: value - RATE * g[name] for name, value in p.items()}
            if terms == "separate":
                ended.append((fisher(p, task, seed), p, 1.0))
            else:  # one term: decayed, around the latest weights
                f = fisher(p, task, seed)
                for old, _, _ in ended:
                    f = {name: value + DECAY * old[name] for name, value in f.items()}
                ended = [(f, p, 1.0)]
        agree(learned(learner("ewc", strength=STRENGTH, **config)), seed, p)


def test_separate_terms_differ_from_one_around_the_latest_weights() -> None:
    separate, online = (learned(learner("ewc", strength=STRENGTH, terms=terms)) for terms in ("separate", "online"))
    assert not all(np.allclose(weights(separate, 0)[name], value, atol=1e-4) for name, value in weights(online, 0).items())
