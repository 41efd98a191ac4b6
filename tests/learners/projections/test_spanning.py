from __future__ import annotations

import numpy as np
import torch
from numpy_mlp import basis

from nlbench.learners.projections.spanning import extended, most_spanned, span


def test_a_basis_is_of_more_inputs_than_numbers_too_and_grows_to_the_share() -> None:
    draw = torch.Generator().manual_seed(0)
    for n in (4, 40):
        rows = torch.randn(2, n, 6, generator=draw, dtype=torch.float64) * torch.arange(1, 7)
        known = torch.zeros(2, 6, 6, dtype=torch.float64)
        span(known, rows[:, : n // 2], 0.7)
        span(known, rows, 0.9)
        for s in range(2):
            M = basis(basis(np.zeros((6, 0)), rows[s, : n // 2].numpy(), 0.7), rows[s].numpy(), 0.9)
            np.testing.assert_allclose(known[s], M @ M.T, atol=1e-9)


def test_axes_are_of_more_inputs_than_numbers_too_and_a_basis_shares_those_that_were_there() -> None:
    draw = torch.Generator().manual_seed(0)
    for n in (4, 40):
        rows = torch.randn(2, n, 6, generator=draw, dtype=torch.float64) * torch.arange(1, 7)
        axes, one = extended(torch.zeros(2, 6, 6, dtype=torch.float64), rows, 0.7)
        again, two = extended(axes, rows, 0.95)
        for s in range(2):
            assert 0 < one[s].sum() < two[s].sum() <= 6
            assert (again[s][:, one[s]] == axes[s][:, one[s]]).all()
            B = again[s][:, two[s]].numpy()
            np.testing.assert_allclose(B.T @ B, np.eye(B.shape[1]), atol=1e-9)
            assert np.square(rows[s].numpy() @ B).sum() >= 0.95 * rows[s].square().sum() - 1e-9


def test_directions_of_rounding_belong_to_no_basis_though_all_is_asked_for() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 40, 2, generator=draw, dtype=torch.float64) @ torch.randn(2, 2, 6, generator=draw, dtype=torch.float64)
    for dtype in (torch.float32, torch.float64):
        known = torch.zeros(2, 6, 6, dtype=dtype)
        span(known, rows.to(dtype), 1.0)
        span(known, 3 * rows.flip(1).to(dtype), 1.0)
        assert known.diagonal(dim1=1, dim2=2).sum(1).round(decimals=4).tolist() == [2, 2]
        axes, one = extended(torch.zeros(2, 6, 6, dtype=dtype), rows.to(dtype), 1.0)
        _, two = extended(axes, 3 * rows.flip(1).to(dtype), 1.0)
        assert one.sum(1).tolist() == two.sum(1).tolist() == [2, 2]


def test_of_many_tasks_those_are_related_that_span_most_and_enough() -> None:
    along = torch.tensor([[[3.0, 2.0, 1.0]], [[0.1, 0.1, 0.2]]])
    whole = torch.cat([along, torch.tensor([[[1.0]], [[10.0]]])], 2)
    found = most_spanned(torch.eye(3, dtype=torch.bool).expand(2, 3, 3), whole, along, 2, 0.1)
    assert found.tolist() == [[True, True, False], [False, False, False]]
