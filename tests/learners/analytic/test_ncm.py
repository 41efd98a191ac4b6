from __future__ import annotations

import numpy as np
from small_analytic import SEEDS, C, featured, held_back, learner, observe, of_seed, tasks


def test_it_answers_with_the_nearest_mean_of_all_samples_so_far() -> None:
    made, shown = learner("ncm"), tasks()
    observe(made, shown)
    logits = made.predict(held_back(), None).double().numpy()
    for s in range(len(SEEDS)):
        features, labels, _ = of_seed(made, shown, s)
        means = np.stack([features[labels == c].mean(0) for c in range(C)])
        x = featured(made, held_back()[s].double().numpy(), s)
        distances = np.square(x[:, None] - means).sum(-1)
        np.testing.assert_array_equal(logits[s].argmax(-1), distances.argmin(-1))
        np.testing.assert_allclose(logits[s], np.square(x).sum(-1, keepdims=True) / 2 - distances / 2, atol=1e-4)
