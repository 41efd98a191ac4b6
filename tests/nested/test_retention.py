"""Retentions: where the centre is, what is weighed, and what they become after keys were written, in float64."""

from __future__ import annotations

import pytest
import torch
from float64 import close, draw

from nlbench.nested.retention import AccumulatedMetric, Decayed, Euclidean, decay_towards, per_matrix, ridge_metric


def test_decay_goes_towards_the_initial_state_or_to_zero():
    weights, initial = draw(3, 4), draw(3, 4, seed=1)
    assert close(decay_towards(weights, initial, 0.25), initial + 0.25 * (weights - initial))
    assert close(decay_towards(weights, None, 0.25), 0.25 * weights)
    shares = torch.tensor([0.0, 1.0], dtype=torch.float64)
    both = decay_towards(torch.stack([weights, weights]), initial, shares)
    assert close(both[0], initial)
    assert close(both[1], weights)


def test_a_number_stays_one_and_a_tensor_gains_two_axes():
    assert per_matrix(0.5) == 0.5
    assert per_matrix(torch.ones(2, 3)).shape == (2, 3, 1, 1)


def test_plain_and_decayed_weigh_by_the_rate_and_do_not_change():
    keys = draw(5, 4)
    for retention in (Euclidean(0.3), Decayed(0.3, 0.9)):
        assert close(retention.weigh(keys), 0.3 * keys)
        assert retention.after(keys, keys) is retention
    weights = draw(3, 4)
    assert Euclidean(0.3).centre(weights) is weights
    assert close(Decayed(0.3, 0.9, draw(3, 4, seed=1)).centre(weights), decay_towards(weights, draw(3, 4, seed=1), 0.9))


@pytest.mark.parametrize("retain", [1.0, 0.9])
def test_the_metric_after_keys_is_the_inverse_of_the_faded_sum(retain):
    weights, ridge = draw(3, 6), 2.0
    metric = AccumulatedMetric(ridge_metric(weights, ridge), retain)
    whole = ridge * torch.eye(6, dtype=torch.float64)
    for step in range(4):
        keys = draw(5, 6, seed=step)
        weighed = metric.weigh(keys)
        gain = torch.cholesky_solve(weighed, torch.linalg.cholesky(torch.eye(5, dtype=torch.float64) + weighed @ keys.mT))
        metric = metric.after(weighed, gain)
        whole = retain * whole + keys.mT @ keys
        assert close(metric.inverse_metric @ whole, torch.eye(6, dtype=torch.float64), 1e-9)
        assert torch.equal(metric.inverse_metric, metric.inverse_metric.mT)


def test_an_empty_metric_has_the_ridge_for_every_replica():
    assert close(ridge_metric(draw(2, 3, 4), 0.5), 2 * torch.eye(4, dtype=torch.float64).expand(2, 4, 4))
