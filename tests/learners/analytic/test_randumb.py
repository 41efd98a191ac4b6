from __future__ import annotations

import numpy as np
from small_analytic import SEEDS, WIDTH, C, featured, held_back, learner, observe, of_seed, tasks


def test_it_is_the_nearest_mean_in_the_shrunk_common_covariance() -> None:
    made, shown = learner("randumb"), tasks()
    observe(made, shown)
    logits = made.predict(held_back(), None).double().numpy()
    for s in range(len(SEEDS)):
        features, labels, _ = of_seed(made, shown, s)
        n = len(labels)
        means = np.stack([features[labels == c].mean(0) for c in range(C)])
        around = features - means[labels]
        covariance = around.T @ around / n
        trace, squares = covariance.trace(), np.square(covariance).sum()
        share = ((1 - 2 / WIDTH) * squares + trace**2) / ((n + 1 - 2 / WIDTH) * (squares - trace**2 / WIDTH))
        assert 0 < share < 1
        precision = np.linalg.inv((1 - share) * covariance + share * trace / WIDTH * np.eye(WIDTH))
        weights = precision @ means.T
        x = featured(made, held_back()[s].double().numpy(), s)
        np.testing.assert_allclose(logits[s], x @ weights - 0.5 * (means.T * weights).sum(0), rtol=1e-3, atol=1e-3)


def test_its_features_are_fourier_features_unless_it_is_told_others() -> None:
    from nlbench.learners.analytic.config import RandumbConfig

    assert RandumbConfig(kind="randumb").network.kind == "random-fourier"  # type: ignore[attr-defined]
