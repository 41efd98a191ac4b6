"""Local surprise: its statistics and its objective of order 1 and 2 against autograd; the same checks reject the faulty rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nlbench.errors import NlbenchError
from nlbench.nested.hope import HopeClassifier
from nlbench.nested.self_referential import SelfReferentialConfig
from nlbench.nested.surprise import SurpriseObjective, standardise, surprise_size, surprise_statistics

N = 8


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> bool:
    return actual.shape == expected.shape and float((actual - expected).detach().abs().max()) <= tolerance


def network() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    for index, parameter in enumerate(model.parameters()):
        parameter.data.copy_(draw(*parameter.shape, seed=index) / 2)
    return model


def loss_of(model: nn.Module) -> Tensor:
    return F.cross_entropy(model(draw(N, 6, seed=50)), torch.arange(N) % 3)


def gradients(loss: Tensor, model: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def equal(left: list[Tensor], right: list[Tensor], tolerance: float = 1e-10) -> bool:
    return all(close(a, b, tolerance) for a, b in zip(left, right, strict=True))


def outputs_of(model: nn.Sequential) -> tuple[list[Tensor], list[Tensor]]:
    """Return (inputs, outputs) of the linear layers, in one graph."""
    x, inputs, outputs = draw(N, 6, seed=50), [], []
    for layer in model:
        y = layer(x)
        if isinstance(layer, nn.Linear):
            inputs.append(x)
            outputs.append(y)
        x = y
    return inputs, outputs


def full_objective(model: nn.Sequential, weight: float) -> Tensor:
    """L + weight Σ_layers mean ½‖y + nδ‖² with δ inside the graph, written out."""
    _, outputs = outputs_of(model)
    loss = F.cross_entropy(outputs[-1], torch.arange(N) % 3)
    surprises = torch.autograd.grad(loss, outputs, create_graph=True)
    return loss + weight * sum(0.5 * (y + N * d).square().sum() / N for y, d in zip(outputs, surprises, strict=True))


def is_double_backward(gradients_of: Callable[[nn.Sequential, float], list[Tensor]]) -> bool:
    model = network()
    return equal(gradients_of(model, 0.05), gradients(full_objective(model, 0.05), model))


def with_graph_thrown_away(model: nn.Sequential, weight: float) -> list[Tensor]:
    """Seed system 2: `create_graph=True`, then `.detach()`: the graph is built and never used."""
    _, outputs = outputs_of(model)
    loss = F.cross_entropy(outputs[-1], torch.arange(N) % 3)
    surprises = torch.autograd.grad(loss, outputs, create_graph=True)
    objective = sum(0.5 * (y + N * d.detach()).square().sum() / N for y, d in zip(outputs, surprises, strict=True))
    return gradients(loss + weight * objective, model)


def test_order_two_differentiates_through_the_surprise_and_a_detached_one_does_not() -> None:
    def ours(model: nn.Sequential, weight: float) -> list[Tensor]:
        surprise = SurpriseObjective(model, order=2, weight=weight)
        result = gradients(surprise(loss_of(model)), model)
        surprise.detach()
        return result

    assert is_double_backward(ours)
    assert not is_double_backward(with_graph_thrown_away)


def memories() -> HopeClassifier:
    """Weights that layers share with memories, whose writes are differentiated too."""
    config = SelfReferentialConfig(form="mlp", chunk=1, outer_chunk=2, backend="reference")
    return HopeClassifier(6, 8, 3, (1, 2), "sequential", 1, tokens=3, heads=2, config=config).double()


@pytest.mark.parametrize("build", [network, memories])
def test_order_two_matches_finite_differences(build: Callable[[], nn.Module]) -> None:
    model = build()
    surprise = SurpriseObjective(model, order=2, weight=0.05)
    weight = next(parameter for name, parameter in model.named_parameters() if name in ("0.weight", "embed.weight"))
    (analytic,) = torch.autograd.grad(surprise(loss_of(model)), weight)
    direction, step = draw(*weight.shape, seed=9), 1e-6
    sides = []
    for sign in (1, -1):
        weight.data.add_(sign * step * direction)
        sides.append(surprise(loss_of(model)).detach())
        weight.data.sub_(sign * step * direction)
    assert abs(float((analytic * direction).sum() - (sides[0] - sides[1]) / (2 * step))) < 1e-8


def test_order_one_adds_the_local_objective_with_the_surprise_held_fixed() -> None:
    model, weight = network(), 0.05
    inputs, outputs = outputs_of(model)
    loss = F.cross_entropy(outputs[-1], torch.arange(N) % 3)
    surprises = torch.autograd.grad(loss, outputs, retain_graph=True)
    local = sum(
        0.5 * (layer(x.detach()) + N * d).square().sum() / N
        for layer, x, d in zip((model[0], model[2]), inputs, surprises, strict=True)
    )
    expected = gradients(loss + weight * local, model)
    surprise = SurpriseObjective(model, order=1, weight=weight)
    loss = surprise(loss_of(model))
    assert equal(gradients(loss, model), expected)


def graph_of_the_backward_pass(gradients_of: Callable[[nn.Sequential], list[Tensor]]) -> bool:
    """Whether the surprise that a layer is taught with still carries a graph, the cost of `create_graph`."""
    seen: list[bool] = []
    model = network()
    model[2].register_full_backward_hook(lambda _, __, surprise: seen.append(surprise[0].grad_fn is not None))
    gradients_of(model)
    return any(seen)


def test_order_one_builds_no_graph_of_the_backward_pass() -> None:
    def ours(model: nn.Sequential) -> list[Tensor]:
        surprise = SurpriseObjective(model, order=1, weight=0.05)
        return gradients(surprise(loss_of(model)), model)

    def faulty(model: nn.Sequential) -> list[Tensor]:
        return list(torch.autograd.grad(loss_of(model), list(model.parameters()), create_graph=True))

    assert not graph_of_the_backward_pass(ours)
    assert graph_of_the_backward_pass(faulty)


def objective_step_lowers_the_loss(target_sign: float, by_hooks: bool) -> bool:
    """Whether a step on the surprise objective alone, from output 0, lowers ½‖y - v‖²: the target must be -δ."""
    layer = nn.Linear(6, 3, bias=False).double()
    layer.weight.data.zero_()
    x, value = draw(N, 6, seed=1), draw(N, 3, seed=2)

    def loss() -> Tensor:
        return 0.5 * (layer(x) - value).square().sum()

    before = float(loss().detach())
    if by_hooks:
        (plain,) = gradients(loss(), layer)
        SurpriseObjective(layer, order=1, weight=1.0, reduction="sum")
        gradient = gradients(loss(), layer)[0] - plain
    else:
        y = layer(x)
        (surprise,) = torch.autograd.grad(0.5 * (y - value).square().sum(), y, retain_graph=True)
        (gradient,) = gradients(0.5 * (y - target_sign * surprise).square().sum(), layer)
    layer.weight.data.sub_(1e-3 * gradient)
    layer._forward_hooks.clear()
    return float(loss().detach()) < before


def test_target_is_minus_the_surprise_and_seed_systems_plus_climbs() -> None:
    assert objective_step_lowers_the_loss(-1.0, by_hooks=True)
    assert objective_step_lowers_the_loss(-1.0, by_hooks=False)
    assert not objective_step_lowers_the_loss(+1.0, by_hooks=False)


def test_objective_does_not_shrink_with_the_batch_as_the_raw_surprise_does() -> None:
    """A mean loss makes δ ~ 1/n: beside y it vanishes and only shrinkage is left. Repeating the batch must change nothing."""
    model = network()
    surprise = SurpriseObjective(model, order=2, weight=0.05)
    x, labels = draw(N, 6, seed=50), torch.arange(N) % 3
    once = surprise(F.cross_entropy(model(x), labels))
    repeated = surprise(F.cross_entropy(model(x.repeat(5, 1)), labels.repeat(5)))
    assert close(once, repeated)


@pytest.mark.parametrize("order", [1, 2])
def test_surprise_is_off_by_default_and_after_detach(order: int) -> None:
    model = network()
    expected = gradients(loss_of(model), model)
    off = SurpriseObjective(model, order=order)
    assert equal(gradients(off(loss_of(model)), model), expected, 0.0)
    surprise = SurpriseObjective(model, order=order, weight=0.05)
    assert not equal(gradients(surprise(loss_of(model)), model), expected, 1e-3)
    surprise.detach()
    assert equal(gradients(surprise(loss_of(model)), model), expected, 0.0)


def test_replicas_do_not_mix_at_order_two() -> None:
    class Replicated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(draw(2, 3, 6, seed=1)), None

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight.mT

    model, x, value = Replicated(), draw(2, N, 6, seed=2), draw(2, N, 3, seed=3)
    surprise = SurpriseObjective(model, order=2, weight=0.05, layers=[model])
    both = surprise((model(x) - value).square().mean((1, 2)))
    assert both.shape == (2,)
    alone = nn.Linear(6, 3, bias=False).double()
    alone.weight.data.copy_(model.weight[1])
    single = SurpriseObjective(alone, order=2, weight=0.05)((alone(x[1]) - value[1]).square().mean())
    assert close(both[1], single)


def test_statistics_are_means_at_first_and_averages_later() -> None:
    sizes = draw(40, 2, seed=1).abs()
    statistics = surprise_statistics(2, like=sizes)
    z, statistics = standardise(sizes[0], statistics, decay=0.99)
    assert not z.any()
    for size in sizes[1:]:
        z, statistics = standardise(size, statistics, decay=0.99)
    assert close(statistics.mean, sizes.mean(0), 1e-12)
    assert close(statistics.variance, sizes.var(0, correction=0), 1e-12)
    spike, _ = standardise(sizes.mean(0) + 3 * sizes.std(0, correction=0), statistics)
    assert close(spike, torch.full((2,), 3.0, dtype=torch.float64), 1e-9)
    slow = surprise_statistics(like=sizes)
    for _ in range(2000):
        _, slow = standardise(torch.tensor(2.0, dtype=torch.float64), slow, decay=0.9)
    assert close(slow.mean, torch.tensor(2.0, dtype=torch.float64))


def test_size_is_the_root_mean_square_per_replica() -> None:
    surprise = draw(3, 4, 5)
    assert close(surprise_size(surprise, 1), surprise.reshape(3, -1).square().mean(1).sqrt())
    assert close(surprise_size(surprise), surprise.square().mean().sqrt())


def test_order_and_weight_are_checked() -> None:
    with pytest.raises(NlbenchError, match="order must be 1 or 2"):
        SurpriseObjective(network(), order=3, weight=0.1)
    with pytest.raises(NlbenchError, match="weight >= 0"):
        SurpriseObjective(network(), weight=-0.1)
