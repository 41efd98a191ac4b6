from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy_mlp import SEEDS, Weights, agree, answers, backward, gradient, learned, learner, shown, softmax, weights

from nlbench.learners.penalties.ewc import Ewc

RATE, STRENGTH, DECAY = 0.2, 3.0, 0.7


def fisher(p: Weights, task: int, seed: int, of: str = "exact") -> Weights:
    """The mean over samples, in expectation over the model's own answers or of the likeliest, of the squared slope of log p."""
    samples = [(x[None], classes) for xs, _, classes in shown(task, seed) for x in xs]
    total = {name: np.zeros_like(value) for name, value in p.items()}
    for x, classes in samples:
        shares = softmax(answers(p, x)[1], classes)
        counts = shares[0] if of == "exact" else np.eye(len(classes))[shares[0].argmax()]
        for c in np.flatnonzero(classes):
            slopes = -shares.copy()
            slopes[0, c] += 1
            for name, slope in backward(p, x, slopes).items():
                total[name] += counts[c] * slope**2 / len(samples)
    return total


def it_is_learned_so(terms: str, of: str) -> None:
    config = {"terms": terms, "fisher": of, **({"decay": DECAY} if terms == "online" else {})}
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
                ended.append((fisher(p, task, seed, of), p, 1.0))
            else:  # one term: decayed, around the latest weights
                f = fisher(p, task, seed, of)
                for old, _, _ in ended:
                    f = {name: value + DECAY * old[name] for name, value in f.items()}
                ended = [(f, p, 1.0)]
        agree(learned(learner("ewc", strength=STRENGTH, **config)), seed, p)


@pytest.mark.parametrize("of", ["exact", "likeliest"])
@pytest.mark.parametrize("terms", ["separate", "online"])
def test_three_tasks_are_learned_as_the_equations_say(terms: str, of: str) -> None:
    it_is_learned_so(terms, of)


@pytest.mark.parametrize("fault", ["all answers", "the least likely", "logits"])
def test_a_planted_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = Ewc.outcomes

    def faulty(self: Ewc, logits: torch.Tensor) -> torch.Tensor:
        if fault == "all answers":
            self._likeliest = False
            return outcomes(self, logits)
        if fault == "the least likely":
            return logits.log_softmax(-1).min(-1, keepdim=True).values
        return logits.max(-1, keepdim=True).values

    monkeypatch.setattr(Ewc, "outcomes", faulty)
    with pytest.raises(AssertionError):
        it_is_learned_so("separate", "likeliest")


def test_separate_terms_differ_from_one_around_the_latest_weights() -> None:
    separate, online = (learned(learner("ewc", strength=STRENGTH, terms=terms)) for terms in ("separate", "online"))
    assert not all(np.allclose(weights(separate, 0)[name], value, atol=1e-4) for name, value in weights(online, 0).items())
