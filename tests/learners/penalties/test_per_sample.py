from __future__ import annotations

import pytest
import torch
from small_networks import doubled, first, images, problem
from torch import Tensor

from nlbench.learners.penalties import per_sample
from nlbench.networks.config import ConvolutionalConfig, MlpConfig, Resnet18Config
from nlbench.networks.convolutional import Convolutional
from nlbench.networks.mlp import Mlp
from nlbench.networks.network import Network, Taps, Tree
from nlbench.networks.resnet18 import Resnet18

S, SHAPE = 2, (1, 8, 8)
NETWORKS = {
    "mlp": lambda told: Mlp(MlpConfig(kind="mlp", hidden=(6, 5)), told),
    "convolutional": lambda told: Convolutional(ConvolutionalConfig(kind="convolutional", channels=(3, 4)), told),
    "resnet18": lambda told: Resnet18(Resnet18Config(kind="resnet18", width=2), told),
}


def outcomes_of(network: Network, state: Tree):
    def outcomes(parameters: Tree, inputs: Tensor, taps: Taps | None = None) -> Tensor:
        copies = len(inputs) // S
        own = {name: value.repeat_interleave(copies, 0) for name, value in state.items()}
        features, _ = network.apply(parameters, own, inputs, training=False, taps=taps)
        return torch.stack([features.square().sum(-1), features.sin().sum(-1)], -1)

    return outcomes


@pytest.mark.parametrize("of", [torch.square, torch.abs])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_sum_over_samples_taken_one_by_one(name: str, of, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(per_sample, "COPIES", 5_000)  # several parts
    network = NETWORKS[name](problem(SHAPE, (0, 1)))
    parameters, state = first(network, (0, 1))
    state = doubled(state)
    inputs = images(SHAPE, S, 5)
    outcomes = outcomes_of(network, state)
    expected = {key: torch.zeros_like(value) for key, value in parameters.items()}
    for sample in inputs.split(1, dim=1):
        for k in range(2):
            values = outcomes(parameters, sample)[..., k].sum()
            for total, slope in zip(expected.values(), torch.autograd.grad(values, list(parameters.values())), strict=True):
                total.data += of(slope)
    found = per_sample.summed(outcomes, parameters, inputs, of)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value.detach(), rtol=1e-6, atol=1e-9)
    batch = outcomes(parameters, inputs).sum()
    slopes = torch.autograd.grad(batch, list(parameters.values()))
    assert not torch.allclose(of(slopes[0]), expected["layer0.weight" if name == "mlp" else next(iter(expected))])


def test_linear_layers_take_one_product_and_a_layer_passed_twice_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORKS["mlp"](problem(SHAPE, (0, 1)))
    parameters, state = first(network, (0, 1))
    outcomes, inputs = outcomes_of(network, state), images(SHAPE, S, 5)
    wanted = per_sample._by_copies(outcomes, parameters, inputs, torch.square)
    found = per_sample._by_layer(outcomes, parameters, inputs, torch.square)
    assert found is not None
    assert all(torch.allclose(found[name], value) for name, value in wanted.items())

    def twice(parameters: Tree, inputs: Tensor, taps: Taps | None = None) -> Tensor:
        return outcomes(parameters, inputs, taps) + outcomes(parameters, 2 * inputs, taps)

    assert per_sample._by_layer(twice, parameters, inputs, torch.square) is None
