from __future__ import annotations

import numpy as np
import torch
from small_analytic import SEEDS, C, featured, held_back, learner, observe, of_seed, ridge, tasks

RIDGES = (0.001, 0.1, 1.0, 10.0, 1000.0)


def chosen(features: np.ndarray, labels: np.ndarray) -> float:
    """Return the candidate of the least squared error on every fifth sample of a task."""
    held = np.arange(len(labels)) % 5 == 4
    errors = [
        np.square(features[held] @ ridge(features[~held], labels[~held], penalty) - np.eye(C)[labels[held]]).mean()
        for penalty in RIDGES
    ]
    return RIDGES[int(np.argmin(errors))]


def test_after_each_task_its_ridge_is_the_best_on_what_was_held_out_and_the_solution_that_of_all_samples() -> None:
    made, shown = learner("ranpac", ridges=RIDGES), tasks()
    found = set()
    for until in (1, 2, 3):
        for part in (made.past, made.fitted, made.held):
            part.gram.masked_fill_(torch.ones_like(part.gram, dtype=torch.bool).tril(-1), torch.nan)  # never read
        observe(made, shown[until - 1 : until])
        logits = made.predict(held_back(), None).double().numpy()
        for s in range(len(SEEDS)):
            features, labels, _ = of_seed(made, shown[:until], s)
            own = of_seed(made, shown[until - 1 : until], s)
            penalty = chosen(*own[:2])
            assert float(made.ridges[s]) == penalty
            found.add(penalty)
            wanted = featured(made, held_back()[s].double().numpy(), s) @ ridge(features, labels, penalty)
            met = np.unique(labels)
            np.testing.assert_allclose(logits[s][:, met], wanted[:, met], rtol=1e-3, atol=1e-3)
    assert len(found) > 1  # the choice is one
    assert made.diagnostics()["ridge"].tolist() == made.ridges.tolist()


def test_within_a_task_the_last_ridge_holds_and_all_samples_count() -> None:
    made, shown = learner("ranpac", ridges=RIDGES), tasks()
    observe(made, shown[:1])
    ridges = made.ridges.clone()
    made.observe(shown[1][0])
    features, labels, _ = of_seed(made, [shown[0], shown[1][:1]], 1)
    wanted = featured(made, held_back()[1].double().numpy(), 1) @ ridge(features, labels, float(ridges[1]))
    np.testing.assert_allclose(made.predict(held_back(), None)[1, :, :4], wanted[:, :4], rtol=1e-3, atol=1e-3)


def test_a_task_too_short_to_hold_anything_out_keeps_the_ridge() -> None:
    made, shown = learner("ranpac", ridges=RIDGES, held_out=50), tasks()
    observe(made, shown)
    assert made.ridges.tolist() == [1.0] * 3
