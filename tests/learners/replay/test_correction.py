from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from small_replay import surprise

from nlbench.learners.replay.correction import EASED, fitted


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_the_fit_is_the_optimum_that_a_general_method_finds(scale: float) -> None:
    rng = np.random.Generator(np.random.Philox(2))
    logits, labels, there = scale * rng.standard_normal((3, 20, 6)), rng.integers(0, 5, (3, 20)), rng.random((3, 20)) < 0.8
    classes, newest = np.arange(6) < 5, (np.arange(6) > 2) & (np.arange(6) < 5)
    logits[..., newest] += 2.0  # the bias
    found = fitted(
        torch.from_numpy(logits),
        torch.from_numpy(labels),
        torch.from_numpy(classes).expand(3, 1, 6),
        torch.from_numpy(newest).expand(3, 6),
        torch.from_numpy(there),
    ).numpy()
    for seed in range(3):

        def loss(values: np.ndarray, seed: int = seed) -> float:
            o = np.where(newest, values[0] * logits[seed] + values[1], logits[seed])
            eased = EASED * ((values - np.array([1.0, 0.0])) ** 2).sum()
            return float(surprise(o, labels[seed], classes)[there[seed]].mean() + eased)

        best = minimize(loss, [1.0, 0.0], method="BFGS", options={"gtol": 1e-9}).x
        np.testing.assert_allclose(found[seed], best, atol=1e-4)
        assert loss(found[seed]) < loss(np.array([1.0, 0.0])) - 0.01


def test_with_nothing_held_out_nothing_is_corrected() -> None:
    classes = torch.ones(2, 1, 3, dtype=torch.bool)
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    found = fitted(torch.randn(2, 4, 3), torch.zeros(2, 4).long(), classes, classes[:, 0], nothing)
    assert found.tolist() == [[1.0, 0.0]] * 2


@pytest.mark.parametrize("compete", [True, False])
def test_places_that_hold_nothing_change_nothing(compete: bool) -> None:
    """Their label is 0, which need not compete, and of a task's own classes none does."""
    draw = torch.Generator().manual_seed(1)
    logits, labels = 8 * torch.randn(3, 12, 4, generator=draw), torch.randint(1, 4, (3, 12), generator=draw)
    classes, newest = (
        torch.tensor([False, True, True, True]).expand(3, 12, 4).clone(),
        torch.tensor([0, 0, 1, 1]).bool().expand(3, 4),
    )
    there = torch.arange(12).expand(3, 12) < 9
    labels[~there] = 0
    classes[~there] &= compete
    wanted = fitted(logits[:, :9], labels[:, :9], classes[:, :9], newest, there[:, :9])
    torch.testing.assert_close(fitted(logits, labels, classes, newest, there), wanted)
