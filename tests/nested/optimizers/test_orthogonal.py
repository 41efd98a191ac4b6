"""Newton-Schulz finds the polar factor and descends what it should; Muon is torch's."""

from __future__ import annotations

import pytest
import torch
from float64 import close, draw
from torch import Tensor, nn

from nlbench.nested import optimizers as opt


def spectrum(values: Tensor, rows: int, columns: int) -> Tensor:
    left, right = torch.linalg.qr(draw(rows, rows, seed=1))[0], torch.linalg.qr(draw(columns, columns, seed=2))[0]
    rank = min(rows, columns)
    return left[:, :rank] @ torch.diag(values) @ right[:, :rank].mT


def test_newton_schulz_brings_every_singular_value_from_a_two_hundredth_up_near_one() -> None:
    """In [.65, 1.25] from .005 of the Frobenius norm up, on a dense grid of pairs (s, √(1 - s²)); a tenth is too small."""
    small = torch.linspace(0.005, 0.7, 5000, dtype=torch.float64)
    seen = torch.linalg.svdvals(opt.newton_schulz(torch.diag_embed(torch.stack((small, (1 - small**2).sqrt()), -1)), dtype=None))
    assert 0.65 < float(seen.min()) <= float(seen.max()) < 1.25
    tiny = torch.diag(torch.tensor([0.0005, 1.0], dtype=torch.float64))
    assert float(torch.linalg.svdvals(opt.newton_schulz(tiny, dtype=None)).min()) < 0.65


@pytest.mark.parametrize(("rows", "columns"), [(24, 24), (24, 60), (60, 24)])
def test_newton_schulz_keeps_singular_vectors_at_any_shape_and_scale(rows: int, columns: int) -> None:
    steep = torch.logspace(0, -1.9, 24, dtype=torch.float64)
    assert float(steep.min() / steep.norm()) > 0.005
    matrix = spectrum(steep, rows, columns)
    polar = spectrum(torch.ones_like(steep), rows, columns)
    for scale in (1e-4, 1.0, 1e4):
        result = opt.newton_schulz(scale * matrix, dtype=None)
        assert result.shape == matrix.shape
        assert float(torch.linalg.matrix_norm(result - polar, 2)) < 0.35
    assert float(torch.linalg.matrix_norm(opt.newton_schulz(matrix, 15, opt.CUBIC, None) - polar, 2)) < 0.35
    assert float(torch.linalg.matrix_norm(opt.newton_schulz(matrix, 3, opt.CUBIC, None) - polar, 2)) > 0.35


def test_cubic_newton_schulz_is_one_gradient_step_of_distance_plus_orthogonality() -> None:
    """(1 + 2ζ)g - 2ζ g gᵀg descends ½‖O - g‖² + ½‖OᵀO - I‖² from O = g; ζ = ¼ is the cubic (eq. 43-44 with the missing term)."""
    g = draw(5, 5, seed=1)
    g = g / g.norm()
    leaf = g.clone().requires_grad_()
    objective = 0.5 * (leaf - g).square().sum() + 0.5 * (leaf.mT @ leaf - torch.eye(5, dtype=torch.float64)).square().sum()
    (gradient,) = torch.autograd.grad(objective, leaf)
    assert close(opt.newton_schulz(g, 1, opt.CUBIC, None), g - 0.25 * gradient)


def test_newton_schulz_of_nothing_is_nothing_and_keeps_the_dtype() -> None:
    assert not opt.newton_schulz(torch.zeros(3, 4, 5)).any()
    assert opt.newton_schulz(draw(3, 4)).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (64, 100)])
def test_muon_equals_torch(shape: tuple[int, int], dtype: torch.dtype) -> None:
    ours, theirs = (nn.Parameter(draw(*shape, seed=1).to(dtype)) for _ in range(2))
    mine = opt.Muon([ours], 0.02, weight_decay=0.1)
    torchs = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1)
    for t in range(20):
        ours.grad = draw(*shape, seed=10 + t).to(dtype)
        theirs.grad = ours.grad.clone()
        mine.step()
        torchs.step()
    assert close(ours, theirs, 1e-13 if dtype == torch.float64 else 1e-5)
