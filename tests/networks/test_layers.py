from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlbench.networks import layers

S, B, C, D = 3, 4, 2, 5


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stacked(x: Tensor) -> Tensor:
    return layers.seeds_in_channels(x, len(x))


@pytest.mark.parametrize("shared", [False, True])
def test_linear_is_torchs_a_seed(shared: bool) -> None:
    parameters = {"a.weight": draw(S, D, C), "a.bias": draw(S, D, seed=1)}
    x = draw(1 if shared else S, B, C, seed=2)
    y = layers.linear(parameters, "a", x)
    for seed in range(S):
        own = x[0 if shared else seed]
        torch.testing.assert_close(y[seed], F.linear(own, parameters["a.weight"][seed], parameters["a.bias"][seed]))


@pytest.mark.parametrize(("side", "stride", "padding", "bias"), [(3, 1, 1, True), (3, 2, 1, False), (1, 2, 0, False)])
def test_convolution_is_torchs_a_seed(side: int, stride: int, padding: int, bias: bool) -> None:
    parameters = {"a.weight": draw(S, D, C, side, side), **({"a.bias": draw(S, D, seed=1)} if bias else {})}
    x = draw(S, B, C, 6, 7, seed=2)
    y = layers.seeds_first(layers.convolution(parameters, "a", stacked(x), stride=stride, padding=padding), S)
    for seed in range(S):
        own = parameters["a.bias"][seed] if bias else None
        torch.testing.assert_close(y[seed], F.conv2d(x[seed], parameters["a.weight"][seed], own, stride, padding))


def test_batch_norm_is_torchs_a_seed_over_steps_and_at_test() -> None:
    parameters = {"a.weight": draw(S, C), "a.bias": draw(S, C, seed=1)}
    state = {"a.running_mean": torch.zeros(S, C).double(), "a.running_var": torch.ones(S, C).double()}
    twins = [nn.BatchNorm2d(C).double() for _ in range(S)]
    for seed, twin in enumerate(twins):
        twin.weight.data, twin.bias.data = parameters["a.weight"][seed], parameters["a.bias"][seed]
    for step, training in enumerate((True, True, False)):
        x = draw(S, B, C, 3, 3, seed=3 + step) * (step + 1)
        y, after = layers.batch_norm(parameters, state, "a", stacked(x), training=training)
        assert (after["a.running_mean"] is state["a.running_mean"]) == (not training)
        state = after
        for seed, twin in enumerate(twins):
            torch.testing.assert_close(layers.seeds_first(y, S)[seed], twin.train(training)(x[seed]))
            torch.testing.assert_close(state["a.running_var"][seed], twin.running_var)
            torch.testing.assert_close(state["a.running_mean"][seed], twin.running_mean)


def test_images_are_stacked_by_channels_and_back() -> None:
    x = draw(S, B, C, 2, 3)
    assert torch.equal(layers.seeds_first(stacked(x), S), x)
    assert torch.equal(stacked(x)[:, 2:4], x[1])  # the second seed's channels lie together
    assert torch.equal(layers.seeds_in_channels(x[:1], 2)[:, :C], layers.seeds_in_channels(x[:1], 2)[:, C:])
