from __future__ import annotations

import numpy as np
import torch
from small_analytic import SEEDS, WIDTH, C, featured, held_back, learner, observe, of_seed, tasks

from nlbench import Batch


def test_it_is_the_recursion_of_the_paper_one_sample_after_another() -> None:
    made, shown, shrinkage = learner("slda", shrinkage=0.01), tasks(), 0.01
    observe(made, shown)
    logits = made.predict(held_back(), None).double().numpy()
    for s in range(len(SEEDS)):
        features, labels, _ = of_seed(made, shown, s)
        means, counts, covariance = np.zeros((C, WIDTH)), np.zeros(C), np.zeros((WIDTH, WIDTH))
        for t, (z, y) in enumerate(zip(features, labels, strict=True)):
            delta = t / (t + 1) * np.outer(z - means[y], z - means[y])
            covariance = (t * covariance + delta) / (t + 1)
            means[y] = (counts[y] * means[y] + z) / (counts[y] + 1)
            counts[y] += 1
        precision = np.linalg.inv((1 - shrinkage) * covariance + shrinkage * np.eye(WIDTH))
        weights = precision @ means.T
        x = featured(made, held_back()[s].double().numpy(), s)
        np.testing.assert_allclose(logits[s], x @ weights - 0.5 * (means.T * weights).sum(0), rtol=1e-3, atol=1e-3)


def test_the_size_of_batches_does_not_matter() -> None:
    whole, single, shown = learner("slda"), learner("slda"), tasks()
    observe(whole, shown)
    for task in shown:
        for batch in task:
            for i in range(batch.labels.shape[1]):
                single.observe(Batch(batch.inputs[:, i : i + 1], batch.labels[:, i : i + 1], batch.classes, None))
    torch.testing.assert_close(whole.scatter, single.scatter, rtol=1e-4, atol=1e-4)
