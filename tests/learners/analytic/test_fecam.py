from __future__ import annotations

import numpy as np
import pytest
from small_analytic import SEEDS, WIDTH, C, featured, held_back, learner, observe, of_seed, tasks

from nlbench import Batch
from nlbench.errors import NlbenchError


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize(("power", "shrinkage"), [(0.5, (1.0, 1.0)), (1.0, (0.5, 0.25))])
def test_it_is_the_least_distance_in_each_class_own_correlations(power: float, shrinkage: tuple[float, float]) -> None:
    made, shown = learner("fecam", power=power, shrinkage=shrinkage), tasks()
    observe(made, shown)
    logits = made.predict(held_back(), None).double().numpy()
    for s in range(len(SEEDS)):
        features, labels, _ = of_seed(made, shown, s)
        x = unit(featured(made, held_back()[s].double().numpy(), s) ** power)
        for c in range(C):
            own = features[labels == c]
            covariance = np.cov((own**power).T)
            off = ~np.eye(WIDTH, dtype=bool)
            covariance = (
                covariance
                + shrinkage[0] * covariance.diagonal().mean() * np.eye(WIDTH)
                + shrinkage[1] * covariance[off].mean() * off
            )
            deviation = np.sqrt(covariance.diagonal())
            inverse = np.linalg.inv(covariance / np.outer(deviation, deviation))
            apart = x - unit(own.mean(0) ** power)
            np.testing.assert_allclose(logits[s, :, c], -((apart @ inverse) * apart).sum(-1), rtol=2e-3, atol=1e-4)


def test_a_class_of_one_sample_has_a_covariance_too() -> None:
    made = learner("fecam")
    for batch in tasks()[0]:
        made.observe(Batch(batch.inputs[:, :2], batch.labels[:, :2], batch.classes, None))
        assert made.predict(held_back(), None).isfinite().all()


def test_features_that_may_be_negative_are_refused_unless_they_stay_as_they_are() -> None:
    with pytest.raises(NlbenchError, match=r"learner\.power: 0\.5 needs features that are never negative"):
        learner("fecam", network={"kind": "inputs"})
    assert learner("fecam", network={"kind": "inputs"}, power=1.0)
