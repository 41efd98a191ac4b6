"""Herding, against its equation one sample at a time."""

from __future__ import annotations

import numpy as np
import torch

from nlbench.learners.replay.herding import herded


def by_equation(features: np.ndarray, most: int) -> list[int]:
    """iCaRL, algorithm 4, as it stands: k -> the sample whose feature brings the mean of the exemplars nearest the class's."""
    mean, chosen = features.mean(0), []
    for k in range(1, min(most, len(features)) + 1):
        left = [i for i in range(len(features)) if i not in chosen]
        gaps = [np.linalg.norm(mean - (features[i] + features[chosen].sum(0)) / k) for i in left]
        chosen.append(left[int(np.argmin(gaps))])
    return chosen


def test_herding_equals_icarl_s_equation_in_every_seed_and_class() -> None:
    rng = np.random.Generator(np.random.Philox(1))
    features, labels = rng.standard_normal((3, 31, 5)), rng.integers(0, 3, (3, 31))
    there = rng.random((3, 31)) < 0.8
    ranks = herded(torch.from_numpy(features), torch.from_numpy(labels), 7, torch.from_numpy(there)).numpy()
    for seed in range(3):
        for label in range(3):
            rows = np.flatnonzero((labels[seed] == label) & there[seed])
            chosen = rows[by_equation(features[seed, rows], 7)]
            assert [int(ranks[seed, row]) for row in chosen] == list(range(len(chosen)))
        assert (ranks[seed] < 7).sum() == sum(min(7, ((labels[seed] == c) & there[seed]).sum()) for c in range(3))
