from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from small_networks import doubled, images, problem

from nlbench import catalog
from nlbench.errors import NlbenchError
from nlbench.learners.gradient_config import NaiveConfig
from nlbench.learners.naive import Naive
from nlbench.networks.building import build
from nlbench.networks.network import Network

KINDS: dict[str, dict[str, Any]] = {
    "inputs": {},
    "random-relu": {"width": 20, "bias": 0.5},
    "random-fourier": {"width": 20, "gamma": 2.0},
    "random-convolution": {"filters": 5, "size": 3, "grid": 2},
}
SEEDS = (0, 1, 2)


def made(kind: str, seeds: tuple[int, ...] = SEEDS, shape: tuple[int, ...] = (1, 8, 8)) -> Network:
    return build(catalog.config("networks", kind)(kind=kind, **KINDS[kind]), problem(shape, seeds))


def features(kind: str, seeds: tuple[int, ...], inputs: torch.Tensor) -> torch.Tensor:
    network = made(kind, seeds)
    parameters, state = network.initial(seeds)
    assert parameters == {}
    found, after = network.apply({}, doubled(state), inputs, training=True)
    assert all(torch.equal(value, state[name]) for name, value in after.items())
    return found


def test_relu_fourier_and_inputs_are_their_formulas() -> None:
    inputs = images((1, 8, 8), 3)
    x = inputs.flatten(2).numpy()
    np.testing.assert_array_equal(features("inputs", SEEDS, inputs), x)
    for kind in ("random-relu", "random-fourier"):
        found, state = features(kind, SEEDS, inputs), made(kind).initial(SEEDS)[1]
        for s in range(3):
            weight, bias = (state[f"features.{name}"][s].double().numpy() for name in ("weight", "bias"))
            y = x[s] @ weight.T + bias
            wanted = np.maximum(y, 0) if kind == "random-relu" else np.sqrt(2 / 20) * np.cos(y)
            np.testing.assert_allclose(found[s], wanted, rtol=0, atol=1e-12)


def test_a_convolution_pools_rectified_filters_of_mean_zero_in_a_grid() -> None:
    inputs = images((1, 8, 8), 3)
    found, weight = features("random-convolution", SEEDS, inputs), made("random-convolution").initial(SEEDS)[1]["features.weight"]
    torch.testing.assert_close(weight.mean((2, 3, 4)), torch.zeros(3, 5), rtol=0, atol=1e-7)
    for s in range(3):
        windows = sliding_window_view(inputs[s, :, 0].numpy(), (3, 3), (1, 2))
        maps = np.maximum(np.einsum("nijhw,fhw->nfij", windows, weight[s, :, 0].double().numpy()), 0)
        wanted = maps.reshape(6, 5, 2, 3, 2, 3).mean((3, 5)).reshape(6, -1)
        np.testing.assert_allclose(found[s], wanted, rtol=0, atol=1e-12)


def test_inner_products_of_fourier_features_are_the_kernel() -> None:
    network = build(catalog.config("networks", "random-fourier")(kind="random-fourier", width=40_000, gamma=2.0), problem())
    inputs = images((1, 8, 8), 3)
    found = network.apply({}, doubled(network.initial(SEEDS)[1]), inputs, training=False)[0]
    x = inputs.flatten(2)
    wanted = (-2.0 * torch.cdist(x, x).square() / 64).exp()
    torch.testing.assert_close(found @ found.mT, wanted, rtol=0, atol=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_alone_equals_it_among_others_and_shared_inputs_serve_all(kind: str) -> None:
    inputs = images((1, 8, 8), 3)
    together = features(kind, SEEDS, inputs)
    assert together.shape == (3, 6, made(kind).width)
    torch.testing.assert_close(features(kind, (1,), inputs[1:2]), together[1:2], rtol=0, atol=1e-12)
    shared = features(kind, SEEDS, inputs[:1])
    torch.testing.assert_close(shared[0], together[0], rtol=0, atol=1e-12)
    assert shared.shape == together.shape
    if kind != "inputs":
        assert not torch.allclose(shared[0], shared[1])


def test_a_learner_by_gradients_trains_the_head_alone() -> None:
    from nlbench import Batch

    network = {"kind": "random-relu", "width": 16}
    learner = Naive(NaiveConfig.model_validate({"kind": "naive", "network": network}), problem())
    assert set(learner.parameters) == {"head.weight", "head.bias"}
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    shown = Batch(images((1, 8, 8), 3).float(), torch.arange(6).remainder(4).repeat(3, 1), torch.ones(4, dtype=torch.bool), None)
    losses = [learner.observe(shown) for _ in range(50)]
    assert (losses[-1] < losses[0]).all()
    after = learner.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved
    assert all("head." in name for name in moved)


def test_images_too_small_for_the_filters_are_refused() -> None:
    with pytest.raises(NlbenchError, match="need images of at least 4 pixels a side, got 3 x 8"):
        made("random-convolution", shape=(1, 3, 8))
