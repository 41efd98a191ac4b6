from __future__ import annotations

import pytest
import torch
from small_networks import first, images, problem, put_into
from torch import nn

from nlbench.networks.config import MlpConfig
from nlbench.networks.mlp import Mlp


def made(hidden: tuple[int, ...] = (7, 5), **facts: object) -> Mlp:
    return Mlp(MlpConfig(kind="mlp", hidden=hidden), problem(**facts))


def test_features_and_gradients_are_those_of_a_torch_module_a_seed() -> None:
    network, inputs = made(), images((1, 8, 8), 3)
    parameters, state = first(network)
    features, after = network.apply(parameters, state, inputs, training=True)
    assert (features.shape, network.width, after) == ((3, 6, 5), 5, {})
    gradients = torch.autograd.grad(features.square().sum(), list(parameters.values()))
    for seed in range(3):
        twin = nn.ModuleDict({"layer0": nn.Linear(64, 7), "layer1": nn.Linear(7, 5)}).double()
        put_into(twin, parameters, seed)
        expected = twin["layer1"](twin["layer0"](inputs[seed].flatten(1)).relu()).relu()
        torch.testing.assert_close(features[seed], expected, rtol=0, atol=1e-12)
        wanted = torch.autograd.grad(expected.square().sum(), list(twin.parameters()))
        for ours, theirs in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(ours[seed], theirs, rtol=0, atol=1e-11)
            assert (
                ours.is_contiguous()
            )  # laid out as the weight is: a strided one makes the optimizer's step several times slower


def test_one_seed_alone_equals_it_among_others_and_shared_inputs_are_those_of_all() -> None:
    many, alone, inputs = made(), made(seeds=(2,)), images((1, 8, 8), 1)
    (parameters, _), (own, _) = many.initial((0, 1, 2)), alone.initial((2,))
    for name, value in own.items():
        assert torch.equal(value[0], parameters[name][2])
        assert not torch.equal(parameters[name][1], parameters[name][2])
    shared = many.apply(parameters, {}, inputs.float(), training=False)[0]
    torch.testing.assert_close(shared[2:], alone.apply(own, {}, inputs.float(), training=False)[0])


def test_taps_see_every_layer_and_replace_what_goes_on() -> None:
    network, inputs = made(), images((1, 8, 8), 3)
    parameters, state = first(network)
    seen = {}

    def watch(name: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        seen[name] = (x, y)
        return y

    plain = network.apply(parameters, state, inputs, training=True)[0]
    watched = network.apply(parameters, state, inputs, training=True, taps=watch)[0]
    assert torch.equal(plain, watched)
    assert [(name, tuple(x.shape), tuple(y.shape)) for name, (x, y) in seen.items()] == [
        ("layer0", (3, 6, 64), (3, 6, 7)),
        ("layer1", (3, 6, 7), (3, 6, 5)),
    ]
    for name, (x, y) in seen.items():
        torch.testing.assert_close(y, x @ parameters[f"{name}.weight"].mT + parameters[f"{name}.bias"][:, None])
    masked = network.apply(parameters, state, inputs, training=True, taps=lambda name, x, y: y * (name != "layer0"))[0]
    torch.testing.assert_close(masked, parameters["layer1.bias"].relu()[:, None].expand_as(masked))


@pytest.mark.parametrize("shape", [(64,), (1, 8, 8)])
def test_samples_of_any_shape_are_taken_and_no_layer_is_a_network_too(shape: tuple[int, ...]) -> None:
    network = made((), shape=shape)
    assert (network.width, network.head) == (64, "layer0")
    assert network.apply({}, {}, images(shape, 1), training=False)[0].shape == (1, 6, 64)
