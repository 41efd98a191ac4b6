from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nlbench import NlbenchError
from nlbench.nested.metric import accumulate_, bounded, least_squares, protecting, with_constant

S, B, D, V = 2, 6, 7, 3


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def metric_of(chunks: list[Tensor]) -> Tensor:
    metric = torch.zeros(S, D, D)
    for keys in chunks:
        accumulate_(metric, keys)
    return metric


def test_the_constant_is_the_last_number_of_a_key() -> None:
    keys = with_constant(drawn(S, B, D))
    assert keys.shape == (S, B, D + 1)
    assert (keys[..., -1] == 1).all()


def test_a_metric_counts_a_key_as_often_as_it_is_important_and_fades_what_was_before() -> None:
    keys, importance = drawn(S, B, D), torch.rand(S, B, 1)
    metric = torch.eye(D).repeat(S, 1, 1)
    accumulate_(metric, keys, importance, retain=0.5)
    expected = 0.5 * np.eye(D) + np.einsum("sbo,sbi,sbj->sij", importance.numpy(), keys.numpy(), keys.numpy())
    np.testing.assert_allclose(metric.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_what_protects_is_the_inverse_of_the_shifted_metric() -> None:
    metric = metric_of([drawn(S, B, D)])
    expected = np.linalg.inv(np.eye(D) + metric.numpy().astype(np.float64) / 3.0)
    np.testing.assert_allclose(protecting(metric, 3.0).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_well_used_direction_is_protected_and_an_unused_one_is_free() -> None:
    used = torch.zeros(S, 1000, D)
    used[..., 0] = 1.0
    inverse = protecting(metric_of([used]), 1.0)
    torch.testing.assert_close(inverse[:, 0, 0], torch.full((S,), 1 / 1001), rtol=1e-3, atol=0)
    torch.testing.assert_close(inverse[:, 1, 1], torch.ones(S), rtol=1e-3, atol=0)


def test_a_step_is_the_projected_gradient_and_no_longer_than_the_bound() -> None:
    surprises, keys = drawn(S, B, V, seed=1), drawn(S, B, D, seed=2)
    surprises[1] *= 1e-3
    inverse = protecting(metric_of([drawn(S, B, D, seed=3)]), 1.0)
    whole = (surprises.mT @ keys) @ inverse
    lengths = whole.flatten(1).norm(dim=1)
    step = bounded(surprises, keys @ inverse, bound=float(lengths[0]) / 4).mT @ (keys @ inverse)
    torch.testing.assert_close(step[0], whole[0] / 4)
    torch.testing.assert_close(step[1], whole[1])


def test_surprises_of_zero_make_no_step() -> None:
    assert (bounded(torch.zeros(S, B, V), drawn(S, B, D), bound=1.0) == 0).all()


def test_least_squares_is_ridge_regression_and_does_not_know_the_order() -> None:
    chunks = [(drawn(S, B, D, seed=i), drawn(S, B, V, seed=10 + i)) for i in range(5)]

    def solved(order: list[int]) -> Tensor:
        metric, products = torch.zeros(S, D, D), torch.zeros(S, D, V)
        for i in order:
            keys, values = chunks[i]
            accumulate_(metric, keys)
            products.baddbmm_(keys.mT, values)
        return least_squares(metric, products, 2.0)

    keys = torch.cat([keys for keys, _ in chunks], 1).numpy().astype(np.float64)
    values = torch.cat([values for _, values in chunks], 1).numpy().astype(np.float64)
    expected = np.stack([np.linalg.solve(k.T @ k + 2.0 * np.eye(D), k.T @ v).T for k, v in zip(keys, values, strict=True)])
    np.testing.assert_allclose(solved([0, 1, 2, 3, 4]).numpy(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(solved([3, 1, 4, 0, 2]), solved([0, 1, 2, 3, 4]))


def test_a_metric_of_nearly_equal_keys_survives_thousands_of_float32_chunks() -> None:
    """Every key is the same but for one part in ten thousand: float32 alone would lose definiteness."""
    width, centre = 60, drawn(1, 1, 60)
    metric, products = torch.zeros(1, width, width), torch.zeros(1, width, V)
    for i in range(2000):
        keys = centre + 1e-4 * drawn(1, 16, width, seed=i)
        accumulate_(metric, keys)
        products.baddbmm_(keys.mT, torch.ones(1, 16, V))
    memory = least_squares(metric, products, 1e-6)
    torch.testing.assert_close(centre @ memory.mT, torch.ones(1, 1, V), atol=1e-2, rtol=0)
    eigenvalues = torch.linalg.eigvalsh(protecting(metric, 1e3).double())
    assert eigenvalues.min() > 0
    assert eigenvalues.max() < 1.05


def test_a_metric_that_is_not_one_is_refused() -> None:
    with pytest.raises(NlbenchError, match="not positive definite"):
        least_squares(torch.full((1, 2, 2), torch.nan), torch.zeros(1, 2, V), 1.0)
