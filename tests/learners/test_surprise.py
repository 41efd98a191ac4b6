from __future__ import annotations

import pytest
import torch
from small_streams import CPU
from torch.nn import functional as F

from nlbench import NlbenchError, Problem
from nlbench.learners.gradient_config import SurpriseConfig
from nlbench.learners.surprise import Surprises, require_watched
from nlbench.networks import building, layers
from nlbench.networks.config import InputsConfig, MlpConfig, ModuleConfig, SequenceConfig

S, B = 2, 6
X = torch.randn(S, B, 4, generator=torch.Generator().manual_seed(0))
WEIGHT, BIAS = torch.arange(24.0).sin().view(S, 3, 4), torch.arange(6.0).cos().view(S, 3)


def watched(objective: SurpriseConfig | None) -> tuple[Surprises, torch.Tensor, torch.Tensor]:
    """One layer under a loss, what it is surprised by, and the weight's gradient."""
    weight = WEIGHT.clone().requires_grad_()
    surprises = Surprises({"one.weight": weight, "one.bias": BIAS}, objective)
    losses = layers.linear({"one.weight": weight, "one.bias": BIAS}, "one", X, surprises).tanh().square().mean((1, 2))
    losses = surprises.added_to(losses)
    return surprises, losses, torch.autograd.grad(losses.sum(), weight)[0]


def test_surprise_is_the_gradient_at_the_outputs_and_leaves_the_losses() -> None:
    surprises, losses, _ = watched(None)
    outputs = (X @ WEIGHT.mT + BIAS[:, None]).requires_grad_()
    delta = torch.autograd.grad(outputs.tanh().square().mean((1, 2)).sum(), outputs)[0]
    torch.testing.assert_close(surprises.deltas["one"], delta)
    size, square = surprises.sizes(["one"])
    torch.testing.assert_close(size, delta.square().mean((1, 2)).sqrt())
    torch.testing.assert_close(square, X.square().sum(2).mean(1))
    torch.testing.assert_close(losses, outputs.detach().tanh().square().mean((1, 2)))


def test_order_1_adds_the_objectives_gradient_at_a_fixed_surprise_and_order_2_the_whole_one() -> None:
    def gradient(order: int) -> torch.Tensor:
        weight = WEIGHT.clone().requires_grad_()
        y = torch.baddbmm(BIAS[:, None], X, weight.mT)
        loss = y.tanh().square().mean((1, 2)).sum()
        delta = B * torch.autograd.grad(loss, y, create_graph=True)[0]
        objective = 0.5 * (y + (delta if order == 2 else delta.detach())).square().sum() / B
        return torch.autograd.grad(loss + 0.3 * objective, weight)[0]

    first, second = (watched(SurpriseConfig(order=order, weight=0.3))[2] for order in (1, 2))  # type: ignore[arg-type]
    torch.testing.assert_close(first, gradient(1))
    torch.testing.assert_close(second, gradient(2))
    assert not torch.allclose(first, second, atol=1e-3)


def test_tokens_are_rows_of_a_sequences_layers() -> None:
    problem = Problem((6,), 3, (0, 1), "class-il", CPU, "auto", 100)
    network = building.build(
        SequenceConfig(kind="sequence", tokens=2, width=8, heads=2, periods=(1, 2), mixer="attention"), problem
    )
    parameters, state = network.initial((0, 1))
    for value in parameters.values():
        value.requires_grad_()
    inputs, surprises = torch.randn(S, B, 6, generator=torch.Generator().manual_seed(1)), Surprises(parameters, None)
    read, _ = network.apply(parameters, state, inputs, training=True, taps=surprises)
    plain, _ = network.apply(parameters, state, inputs, training=True)
    assert torch.equal(read, plain)
    linear = {name.removesuffix(".weight") for name, value in parameters.items() if name.endswith(".weight") and value.ndim == 3}
    assert surprises.outputs.keys() == linear - {name for name in linear if name.endswith("convolution")}
    assert {output.shape[:2] for output in surprises.outputs.values()} == {(S, 2 * B)}
    F.mse_loss(read, torch.zeros_like(read)).backward()
    assert surprises.deltas.keys() == surprises.outputs.keys()


def test_what_no_layer_tells_is_refused() -> None:
    problem = Problem((4,), 3, (0,), "class-il", CPU, "auto", 100)
    require_watched(building.build(MlpConfig(kind="mlp"), problem))
    require_watched(building.build(InputsConfig(kind="inputs"), problem))
    module = ModuleConfig(kind="module", build="torch.nn:Linear", options={"in_features": 4, "out_features": 3})
    with pytest.raises(NlbenchError, match="does not tell"):
        require_watched(building.build(module, problem))
    with pytest.raises(NlbenchError, match="not linear"):
        Surprises({"one.weight": torch.zeros(1, 2, 3, 3, 3)}, None)("one", X, X)
