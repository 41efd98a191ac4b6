from __future__ import annotations

import numpy as np
import torch
from sklearn.covariance import OAS

from nlbench.learners.analytic.statistics import Means, shrunk, within


def samples(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(4)
    return torch.randn(2, n, 7, generator=draw) * torch.arange(1, 8), torch.randint(4, (2, n), generator=draw)


def test_means_and_the_covariance_around_them_are_those_of_all_samples_at_once() -> None:
    features, labels = samples()
    means, gram = Means.none(2, 5, 7, torch.device("cpu")), torch.zeros(2, 7, 7)
    for part in (slice(0, 9), slice(9, 40)):
        means.gather(features[:, part], labels[:, part])
        gram += features[:, part].mT @ features[:, part]
    found, centres = within(gram, means), means.of_classes()
    assert not centres[:, 4].any()  # never met
    for s in range(2):
        x, y = features[s].double().numpy(), labels[s].numpy()
        for c in range(4):
            np.testing.assert_allclose(centres[s, c], x[y == c].mean(0), rtol=1e-4, atol=1e-5)
        around = x - np.stack([x[y == c].mean(0) for c in range(4)])[y]
        np.testing.assert_allclose(found[s], around.T @ around / 40, rtol=1e-4, atol=1e-4)
    nothing = within(torch.zeros(2, 7, 7), Means.none(2, 5, 7, torch.device("cpu")))
    assert torch.equal(nothing, torch.eye(7, dtype=torch.float64).expand(2, 7, 7))


def test_shrinkage_is_between_none_and_all_and_near_that_of_scikit_learn() -> None:
    """Which leaves the 2 / D out of the same formula."""
    features = samples()[0][0].double().numpy()
    covariance = torch.from_numpy(np.cov(features.T, bias=True))[None]
    found = shrunk(covariance, torch.tensor([40.0], dtype=torch.float64))[0].numpy()
    np.testing.assert_allclose(found, OAS().fit(features).covariance_, rtol=0.05, atol=0.3)
    assert np.isclose(found.trace(), covariance[0].trace())
    identity = torch.eye(7, dtype=torch.float64)[None]
    assert torch.equal(shrunk(identity, torch.tensor([3.0], dtype=torch.float64)), identity)
