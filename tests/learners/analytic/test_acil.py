from __future__ import annotations

import numpy as np
import pytest
import torch
from small_analytic import SEEDS, C, featured, held_back, learner, observe, of_seed, ridge, tasks
from small_streams import declared_stream, problem_of, rows_of

from nlbench.learners.analytic.acil import Acil
from nlbench.learners.analytic.config import AcilConfig


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_it_equals_joint_ridge_regression_after_every_task(penalty: float) -> None:
    made, shown = learner("acil", ridge=penalty), tasks()
    for until in (1, 2, 3):
        observe(made, shown[until - 1 : until])
        for s in range(len(SEEDS)):
            features, labels, _ = of_seed(made, shown[:until], s)
            wanted = ridge(features, labels, penalty)
            np.testing.assert_allclose(made.weights[s].T, wanted, rtol=1e-5, atol=1e-6)
    x = featured(made, held_back()[0].double().numpy(), 0)
    np.testing.assert_allclose(made.predict(held_back(), None)[0], x @ ridge(*of_seed(made, shown, 0)[:2], penalty), atol=1e-5)


def test_the_loss_is_half_the_squared_error_before_the_update() -> None:
    made, shown = learner("acil"), tasks()[0]
    assert made.observe(shown[0]).tolist() == [0.5] * 3
    answers = np.einsum("sbd,scd->sbc", made.features(shown[1].inputs).numpy(), made.weights.numpy())
    wanted = np.square(answers - np.eye(C)[shown[1].labels.numpy()]).sum(-1).mean(1) / 2
    np.testing.assert_allclose(made.observe(shown[1]), wanted, rtol=1e-5)


def test_a_whole_stream_of_small_steps_leaves_no_trace() -> None:
    """1437 digits in batches of 2: as exact as one solution of all of them."""
    stream = declared_stream("split", (0,), tasks=5, scenario="class-il", protocol={"evaluate": "final"})
    network = {"kind": "random-relu", "width": 100}
    made = Acil(AcilConfig.model_validate({"kind": "acil", "network": network}), problem_of(stream))
    rows_of(made, stream, batch=2)
    everything = stream.train_until(5)
    inputs, labels = (part[0] for part in everything.take(torch.arange(len(everything))[None]))
    features = made.features(inputs[None])[0].double().numpy()
    wanted = np.linalg.solve(features.T @ features + 0.1 * np.eye(100), features.T @ np.eye(10)[labels.numpy()])
    np.testing.assert_allclose(made.weights[0].T, wanted, rtol=1e-5, atol=1e-6)
