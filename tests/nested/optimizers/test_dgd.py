"""The DGD optimizer: replicas, its exact proximal step, strength zero, and resuming."""

from __future__ import annotations

import pytest
import torch
from float64 import N, close, draw, loss_of, network
from torch import Tensor, nn

from nlbench.nested.optimizers import DGD


class Replicated(nn.Module):
    """S linear layers side by side: x (S, n, d_in), weight (S, d_out, d_in), bias (S, d_out)."""

    def __init__(self, replicas: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(draw(replicas, 3, 6, seed=1))
        self.bias = nn.Parameter(draw(replicas, 3, seed=2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias[:, None], x, self.weight.mT)


@pytest.mark.parametrize("proximal", [False, True])
def test_dgd_replicas_train_as_if_alone(proximal: bool) -> None:
    many, x, target = Replicated(3), draw(3, N, 6, seed=3), draw(3, N, 3, seed=4)
    alone = nn.Linear(6, 3).double()
    alone.weight.data.copy_(many.weight[1])
    alone.bias.data.copy_(many.bias[1])
    fused = DGD(many, 0.1, layers=[many], proximal=proximal)
    single = DGD(alone, 0.1, proximal=proximal)
    for _ in range(5):
        for optimizer, loss in (
            (fused, (many(x) - target).square().mean(1).sum()),
            (single, (alone(x[1]) - target[1]).square().mean(0).sum()),
        ):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert close(many.weight[1], alone.weight)
    assert close(many.bias[1], alone.bias)


@pytest.mark.parametrize("rate", [0.01, 1.0, 100.0])
def test_proximal_dgd_takes_the_exact_step_of_the_batch_at_any_rate(rate: float) -> None:
    layer = nn.Linear(6, 3).double()
    x, target = 3 * draw(N, 6, seed=1), draw(N, 3, seed=2)
    old = torch.cat((layer.weight.detach(), layer.bias.detach()[:, None]), 1)
    optimizer = DGD(layer, rate, proximal=True)
    loss = (layer(x) - target).pow(4).sum(1).mean()
    surprise = 4 * (layer(x) - target).detach().pow(3) / N
    loss.backward()
    optimizer.step()
    new = torch.cat((layer.weight.detach(), layer.bias.detach()[:, None]), 1)
    rows = torch.cat((x, torch.ones_like(x[:, :1])), 1)
    gradient = (rows @ new.mT / N + surprise).mT @ rows + (new - old) / rate
    assert float(gradient.abs().max()) < 1e-7


def test_dgd_of_strength_zero_is_sgd_and_detach_restores_the_gradient() -> None:
    model = network()
    expected = torch.autograd.grad(loss_of(model), list(model.parameters()))
    for proximal in (False, True):
        optimizer = DGD(model, 0.1, kappa=0.0, proximal=proximal)
        assert all(
            close(a, b) for a, b in zip(torch.autograd.grad(loss_of(model), list(model.parameters())), expected, strict=True)
        )
        optimizer.detach()
    DGD(model, 0.1).detach()
    assert all(
        close(a, b, 0.0) for a, b in zip(torch.autograd.grad(loss_of(model), list(model.parameters())), expected, strict=True)
    )


def test_dgd_lowers_the_loss_it_descends_and_resumes_bit_exactly() -> None:
    model, twin = network(), network()
    optimizer = DGD(model, 0.05, kappa=0.1)
    first = float(loss_of(model).detach())

    def train(model: nn.Sequential, optimizer: DGD, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()

    train(model, optimizer, 1)
    assert float(loss_of(model).detach()) < first
    train(model, optimizer, 19)
    twin.load_state_dict(model.state_dict())
    resumed = DGD(twin, 0.9, kappa=0.1)
    resumed.load_state_dict(optimizer.state_dict())
    train(model, optimizer, 5)
    train(twin, resumed, 5)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
