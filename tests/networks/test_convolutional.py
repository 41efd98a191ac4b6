from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_networks import first, images, problem

from nlbench.errors import NlbenchError
from nlbench.networks.config import ConvolutionalConfig
from nlbench.networks.convolutional import Convolutional


def made(shape: tuple[int, ...] = (1, 8, 8), **facts: object) -> Convolutional:
    return Convolutional(ConvolutionalConfig(kind="convolutional", channels=(3, 4, 5, 6)), problem(shape, **facts))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 11), (8, 8)])
def test_features_and_gradients_are_those_of_plain_convolutions_a_seed(shape: tuple[int, ...]) -> None:
    network, inputs = made(shape), images(shape, 3)
    parameters, state = first(network)
    features = network.apply(parameters, state, inputs, training=True)[0]
    assert features.shape == (3, 6, network.width)
    gradients = torch.autograd.grad(features.square().sum(), list(parameters.values()))
    for seed in range(3):
        own = {name: value[seed].detach().requires_grad_() for name, value in parameters.items()}
        x = inputs[seed].reshape(6, -1, *shape[-2:])
        for i in range(4):
            x = F.conv2d(x, own[f"convolution{i}.weight"], own[f"convolution{i}.bias"], padding=1).relu()
            x = F.max_pool2d(x, 2) if min(x.shape[2:]) > 1 else x
        torch.testing.assert_close(features[seed], x.flatten(1), rtol=0, atol=1e-12)
        for ours, theirs in zip(gradients, torch.autograd.grad(x.square().sum(), list(own.values())), strict=True):
            torch.testing.assert_close(ours[seed], theirs, rtol=0, atol=1e-11)


def test_one_seed_alone_equals_it_among_others() -> None:
    (many, _), (alone, _) = made().initial((0, 1, 2)), made(seeds=(1,)).initial((1,))
    assert all(torch.equal(value[0], many[name][1]) for name, value in alone.items())
    inputs = images((1, 8, 8), 3).float()
    together = made().apply(many, {}, inputs, training=True)[0]
    torch.testing.assert_close(made(seeds=(1,)).apply(alone, {}, inputs[1:2], training=True)[0], together[1:2])


def test_taps_see_images_and_replace_them() -> None:
    network, inputs = made(), images((1, 8, 8), 3)
    parameters, state = first(network)
    shapes = {}

    def halve(name: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        shapes[name] = tuple(x.shape), tuple(y.shape)
        return y / 2 if name == "convolution3" else y

    plain = network.apply(parameters, state, inputs, training=True)[0]
    torch.testing.assert_close(network.apply(parameters, state, inputs, training=True, taps=halve)[0], plain / 2)
    assert shapes["convolution1"] == ((3, 6, 3, 4, 4), (3, 6, 4, 4, 4))
    assert len(shapes) == 4


@pytest.mark.parametrize(
    ("shape", "sample", "what"),
    [
        ((64,), None, "a vector of shape"),
        ((8, 8), "sequence", "a sequence of shape"),
        ((1, 8, 8), "features", "features of shape"),
    ],
)
def test_samples_that_are_no_images_are_refused_with_the_way_out(shape: tuple[int, ...], sample: str | None, what: str) -> None:
    with pytest.raises(NlbenchError, match=f"'convolutional' needs images, and a sample of this stream is {what}") as error:
        made(shape, sample=sample)
    assert 'network.kind = "mlp"' in str(error.value)
