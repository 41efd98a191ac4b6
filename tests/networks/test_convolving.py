from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from small_networks import first, images, problem
from torch import Tensor

from nlbench.batch import Problem
from nlbench.networks import convolving
from nlbench.networks.config import Resnet18Config
from nlbench.networks.network import Tree
from nlbench.networks.resnet18 import Resnet18

SHAPE = (3, 16, 16)
SIZES = [
    (3, 4, 3, 5, 3, 1, 7),
    (2, 3, 4, convolving.FEW + 1, 3, 2, 8),
    (1, 2, 3, 4, 1, 2, 5),
    (2, 1, 2, 3, 3, 2, 6),
    (2, 5, 1, 1, 3, 1, 1),
]
"""Seeds, samples, channels in and out, sides of filters, strides, sides of images."""


def drawn(size: tuple[int, ...], dtype: torch.dtype = torch.float64, device: str = "cpu") -> tuple[Tensor, Tensor, int, int]:
    seeds, samples, c_in, c_out, side, stride, image = size
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(samples, seeds * c_in, image, image, dtype=torch.float64, generator=generator)
    weight = torch.randn(seeds, c_out, c_in, side, side, dtype=torch.float64, generator=generator)
    x, weight = (each.to(device, dtype).requires_grad_() for each in (x, weight))
    return x, weight, stride, side // 2


@pytest.mark.parametrize("size", SIZES)
def test_a_convolution_and_its_gradients_are_torchs(size: tuple[int, ...]) -> None:
    x, weight, stride, padding = drawn(size)
    ours = convolving.convolution(x, weight, stride=stride, padding=padding)
    plain = F.conv2d(x, weight.flatten(0, 1), None, stride, padding, groups=len(weight))
    back = torch.sin(torch.arange(plain.numel(), dtype=plain.dtype)).view_as(plain)
    torch.testing.assert_close(ours, plain, rtol=0, atol=0)
    for got, wanted in zip(*(torch.autograd.grad(each, (x, weight), back) for each in (ours, plain)), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_what_needs_no_gradient_gets_none_and_a_second_one_is_refused() -> None:
    x, weight, stride, padding = drawn(SIZES[0])
    found = convolving.convolution(x.detach(), weight, stride=stride, padding=padding)
    (gradient,) = torch.autograd.grad(found.square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("shared", [False, True])
def test_seeds_apart_are_seeds_together(shared: bool) -> None:
    network = Resnet18(Resnet18Config.model_validate({"kind": "resnet18", "width": 4}), problem(SHAPE))
    parameters, state = first(network, (0, 1, 2))
    inputs = images(SHAPE, 3)[: 1 if shared else 3]
    for value in parameters.values():
        value.requires_grad_()
    together, apart = (
        step(parameters, state, inputs)
        for step in (
            partial(network.apply, training=True),
            partial(convolving.seeds_apart, partial(network.apply, training=True)),
        )
    )
    torch.testing.assert_close(apart[0], together[0], rtol=1e-9, atol=1e-9)
    assert apart[1].keys() == together[1].keys()
    for name, value in together[1].items():
        torch.testing.assert_close(apart[1][name], value, rtol=1e-9, atol=1e-9)
    gradients = (torch.autograd.grad(features.square().sum(), list(parameters.values())) for features, _ in (apart, together))
    for got, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_a_resnet_reads_without_a_move_of_its_statistics(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Resnet18(Resnet18Config.model_validate({"kind": "resnet18", "width": 4}), problem(SHAPE))
    parameters, state = first(network, (0, 1))
    wanted, moved = network.apply(parameters, state, images(SHAPE, 2), training=training)
    monkeypatch.setattr(network, "_channels_last", True)
    found, after = network.apply(parameters, state, images(SHAPE, 2), training=training)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert (after is state) is (moved is state) is not training
    for name, value in moved.items():
        torch.testing.assert_close(after[name], value, rtol=1e-9, atol=1e-9)


def on_a_gpu(width: int, precision: str) -> Resnet18:
    config = Resnet18Config.model_validate({"kind": "resnet18", "width": width})
    return Resnet18(config, Problem(SHAPE, 2, (0, 1), "class-il", torch.device("cuda"), "auto", 100, precision))


def trained(network: Resnet18, precision: str, plain: bool) -> tuple[Tensor, Tree]:
    """Return features and gradients; taps that leave everything as it is ask for plain convolutions of groups."""
    parameters, state = network.initial((0, 1))
    inputs = images(SHAPE, 2, batch=16).float().cuda()
    for value in parameters.values():
        value.requires_grad_()
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with exact, torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
        taps = (lambda name, x, y: y) if plain else None
        features, _ = network.apply(parameters, state, inputs, training=True, taps=taps)
        found = torch.autograd.grad(features.float().square().sum(), list(parameters.values()))
    return features.detach().float(), dict(zip(parameters, found, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("width", "precision", "allowed"), [(20, "float32", 1e-3), (64, "bf16", 0.2)])
def test_on_a_gpu_steps_are_those_of_plain_groups_within_rounding_and_repeat(width: int, precision: str, allowed: float) -> None:
    network = on_a_gpu(width, precision)
    (features, gradients), (again, repeated), (plain, groups) = (
        trained(network, precision, plain=each) for each in (False, False, True)
    )
    torch.testing.assert_close(features, again, rtol=0, atol=0)
    assert (features - plain).norm() <= allowed * plain.norm()
    for name, wanted in groups.items():
        torch.testing.assert_close(gradients[name], repeated[name], rtol=0, atol=0)
        assert (gradients[name] - wanted).norm() <= allowed * wanted.norm(), name
