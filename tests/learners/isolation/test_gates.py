from __future__ import annotations

import pytest
import torch

from nlbench.learners.isolation.gates import gate, slope_at, spared


def test_the_slope_rises_from_its_inverse_in_a_straight_line() -> None:
    assert [slope_at(step, 3, 4.0) for step in range(3)] == [0.25, 2.125, 4.0]
    assert slope_at(0, 1, 4.0) == 0.25


def test_a_gate_is_steep_and_its_gradient_that_of_the_equation() -> None:
    """s_max / s (cosh(s e) + 1) / (cosh(e) + 1) times the gate's own, with |s e| up to 50 in the cosh."""
    e = torch.tensor([-6.0, -1.0, 0.3, 2.0, 6.0], dtype=torch.float64, requires_grad=True)
    slope, steepness = torch.tensor(12.0, dtype=torch.float64), 20.0
    plain = torch.sigmoid(slope * e)
    (own,) = torch.autograd.grad(plain.sum(), e)
    cosh = torch.cosh((slope * e).clamp(-50, 50)) + 1
    found = gate(e, slope, steepness)
    torch.testing.assert_close(found, plain, rtol=0, atol=0)
    (slopes,) = torch.autograd.grad(found.sum(), e)
    torch.testing.assert_close(slopes[:4], (own * steepness / slope * cosh / (torch.cosh(e) + 1))[:4], rtol=1e-5, atol=1e-9)
    assert slopes[4] < 1e-6 < slopes[3]


def test_a_weight_is_spared_where_both_its_ends_were_used() -> None:
    used = {"a": torch.tensor([[1.0, 0.0]]), "b": torch.tensor([[0.5, 1.0, 0.0]])}
    parameters = {"a.weight": torch.zeros(1, 2, 1, 3, 3), "b.weight": torch.zeros(1, 3, 4)}
    found = spared(used, parameters)
    assert found["a.weight"].shape == (1, 2, 1, 1, 1)
    assert found["a.weight"].flatten().tolist() == [1, 0]
    assert found["b.weight"][0].tolist() == [[0.5, 0.5, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert found["b.bias"].tolist() == [[0.5, 1, 0]]


@pytest.mark.parametrize("steps", [1, 5])
def test_a_pass_begins_flat(steps: int) -> None:
    assert slope_at(0, steps, 400.0) == 1 / 400
