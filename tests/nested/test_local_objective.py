"""Local objectives and the DGD optimizer against autograd, in float64; the same checks reject the faulty rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from float64 import N, close, draw, loss_of, network
from torch import Tensor, nn
from torch.nn import functional as F

from nlbench.errors import NlbenchError
from nlbench.nested.local_objective import LocalObjective, add_local_gradient, attach, trainable_layers
from nlbench.nested.optimizers import DGD


def local_gradients(model: nn.Sequential, kappa: float, reduction: str) -> list[Tensor]:
    """Return the gradient of L + Σ_layers (κ/2) Σ‖W x + b‖² by autograd, every x detached: the penalty stays in its layer."""
    share = 1 / N if reduction == "mean" else 1.0
    total, x = loss_of(model, reduction), draw(N, 6, seed=50)
    for layer in model:
        if isinstance(layer, nn.Linear):
            total = total + 0.5 * kappa * share * layer(x.detach()).square().sum()
        x = layer(x)
    return list(torch.autograd.grad(total, list(model.parameters())))


def is_local_dgd(gradients_of: Callable[[nn.Sequential, float, str], list[Tensor]], reduction: str = "mean") -> bool:
    model = network()
    expected = local_gradients(model, 0.7, reduction)
    return all(close(a, b) for a, b in zip(gradients_of(model, 0.7, reduction), expected, strict=True))


def by_hooks(model: nn.Sequential, kappa: float, reduction: str) -> list[Tensor]:
    optimizer = DGD(model, 0.1, kappa=kappa, reduction=reduction)
    loss_of(model, reduction).backward()
    optimizer.detach()
    return [p.grad for p in model.parameters()]


def by_batch_means_and_shapes(model: nn.Sequential, kappa: float, reduction: str) -> list[Tensor]:
    """Seed system 2: mean(y) mean(x)ᵀ of inputs passed by hand, given to every weight whose width fits."""
    loss_of(model, reduction).backward()
    inputs = draw(N, 6, seed=50)
    for p in model.parameters():
        if p.ndim == 2 and p.shape[1] == inputs.shape[1]:
            p.grad = p.grad + kappa * torch.outer((inputs @ p.detach().mT).mean(0), inputs.mean(0))
    return [p.grad for p in model.parameters()]


def by_flowing_penalty(model: nn.Sequential, kappa: float, reduction: str) -> list[Tensor]:
    """The penalty of all outputs added to the loss: it reaches the layers below, which DGD's does not."""
    total, x = loss_of(model, reduction), draw(N, 6, seed=50)
    for layer in model:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            total = total + 0.5 * kappa / N * x.square().sum()
    total.backward()
    return [p.grad for p in model.parameters()]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_dgd_hooks_descend_the_loss_plus_the_local_squared_output(reduction: str) -> None:
    assert is_local_dgd(by_hooks, reduction)


def test_the_check_of_local_dgd_rejects_batch_means_and_a_penalty_that_flows() -> None:
    assert not is_local_dgd(by_batch_means_and_shapes)
    assert not is_local_dgd(by_flowing_penalty)


def test_dgd_hooks_work_through_autograd_grad_and_twice_used_layers() -> None:
    layer = nn.Linear(4, 4).double()
    x = draw(N, 4, seed=1)
    middle = layer(x).detach()
    plain = layer(layer(x)).square().sum() + 0.5 * layer(x).square().sum() + 0.5 * layer(middle).square().sum()
    expected = torch.autograd.grad(plain, list(layer.parameters()))
    attach([layer], LocalObjective(output=1.0, reduction="sum"))
    ours = torch.autograd.grad(layer(layer(x)).square().sum(), list(layer.parameters()))
    assert all(close(a, b) for a, b in zip(ours, expected, strict=True))


@pytest.mark.parametrize("settings", [{}, {"stride": 2, "padding": 1, "dilation": 2}])
def test_dgd_of_a_convolution_is_dgd_on_its_patches(settings: dict[str, int]) -> None:
    layer = nn.Conv2d(2, 3, 3, **settings).double()
    x = draw(4, 2, 7, 8, seed=1)

    def loss() -> Tensor:
        return layer(x).pow(4).sum((1, 2, 3)).mean()

    expected = torch.autograd.grad(loss() + 0.5 * layer(x).square().sum() / 4, list(layer.parameters()))
    DGD(layer, 0.1)
    loss().backward()
    assert all(close(p.grad, e) for p, e in zip(layer.parameters(), expected, strict=True))


def test_evaluation_and_frozen_layers_are_left_alone() -> None:
    model = network()
    model[0].requires_grad_(False)
    DGD(model, 0.1)
    with torch.no_grad():
        assert close(model(draw(N, 6, seed=50)), network()(draw(N, 6, seed=50)), 0.0)
    loss_of(model).backward()
    assert model[0].weight.grad is None
    assert len(trainable_layers(model)) == 3


def test_functions_of_weights_take_the_local_gradient_and_dgd_refuses_layers_it_cannot_see() -> None:
    layer, x = nn.Linear(6, 3).double(), draw(N, 6, seed=1)
    expected = torch.autograd.grad((layer(x).pow(4).sum() + 0.5 * layer(x).square().sum()) / N, list(layer.parameters()))
    output = F.linear(x, layer.weight, layer.bias)
    loss = add_local_gradient(output, x, layer.weight, layer.bias, LocalObjective(output=1.0)).pow(4).sum() / N
    assert all(close(a, b) for a, b in zip(torch.autograd.grad(loss, list(layer.parameters())), expected, strict=True))

    optimizer = DGD(layer)
    F.linear(x, layer.weight, layer.bias).sum().backward()
    with pytest.raises(NlbenchError, match="not called"):
        optimizer.step()
    optimizer.zero_grad()
    layer(x).sum().backward()
    optimizer.step()


def test_layers_without_a_local_form_are_refused() -> None:
    with pytest.raises(NlbenchError, match="plain convolution"):
        DGD(nn.Conv2d(4, 4, 3, groups=2))
    with pytest.raises(NlbenchError, match="kappa in"):
        DGD(nn.Linear(3, 3), kappa=2.0)
