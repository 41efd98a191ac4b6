from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_networks import first, images, problem, put_into
from torch import Tensor, nn

from nlbench.networks.config import Resnet18Config
from nlbench.networks.resnet18 import Resnet18

SHAPE = (3, 16, 16)


def made(width: int = 4, shape: tuple[int, ...] = SHAPE, **options: object) -> Resnet18:
    return Resnet18(Resnet18Config.model_validate({"kind": "resnet18", "width": width, **options}), problem(shape))


def torchvision_twin() -> nn.Module:
    """Return torchvision's ResNet-18 with the stem for small images and without its last layer."""
    from torchvision.models import resnet18

    module = resnet18(num_classes=2)
    module.conv1, module.maxpool, module.fc = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity(), nn.Identity()
    return module.double()


def test_width_64_is_torchvisions_in_training_and_at_test() -> None:
    network, inputs = made(64), images(SHAPE, 2)
    parameters, state = first(network, (0, 1))
    assert network.width == 512
    with torch.no_grad():
        for seed in range(2):
            twin = torchvision_twin()
            put_into(twin, {**parameters, **state}, seed)
            assert sum(value.numel() for value in twin.parameters()) == sum(value[0].numel() for value in parameters.values())
            trained, moved = network.apply(parameters, state, inputs, training=True)
            torch.testing.assert_close(trained[seed], twin.train()(inputs[seed]), rtol=1e-9, atol=1e-9)
            for name, value in moved.items():  # the running statistics of one batch
                torch.testing.assert_close(value[seed], twin.state_dict()[name], rtol=1e-9, atol=1e-9)
            tested, same = network.apply(parameters, moved, inputs, training=False)
            torch.testing.assert_close(tested[seed], twin.eval()(inputs[seed]), rtol=1e-9, atol=1e-9)
            assert same is moved


def test_gradients_are_torchvisions() -> None:
    network, inputs = made(64, (3, 8, 8)), images((3, 8, 8), 2, batch=3)
    parameters, state = first(network, (0, 1))
    gradients = torch.autograd.grad(
        network.apply(parameters, state, inputs, training=True)[0].square().sum(), [*parameters.values()]
    )
    twin = torchvision_twin().train()
    put_into(twin, {**parameters, **state}, 1)
    wanted = torch.autograd.grad(twin(inputs[1]).square().sum(), list(twin.parameters()))
    named = dict(zip([name for name, _ in twin.named_parameters()], wanted, strict=True))
    for name, value in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(value[1], named[name], rtol=1e-7, atol=1e-9 * float(named[name].abs().max()) + 1e-12)


def test_float32_gradients_are_those_of_float64_to_rounding() -> None:
    network, inputs = made(), images(SHAPE, 3)
    parameters, state = first(network)
    exact = torch.autograd.grad(network.apply(parameters, state, inputs, training=True)[0].sum(), [*parameters.values()])
    single = {name: value.detach().float().requires_grad_() for name, value in parameters.items()}
    state = {name: value.float() for name, value in state.items()}
    found = torch.autograd.grad(network.apply(single, state, inputs.float(), training=True)[0].sum(), [*single.values()])
    for ours, wanted in zip(found, exact, strict=True):
        assert (ours - wanted).norm() <= 1e-4 * wanted.norm() + 1e-6


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_one_seed_alone_equals_it_among_others_and_no_seed_moves_anothers_statistics(norm: str) -> None:
    network, inputs = made(norm=norm), images(SHAPE, 3)
    parameters, state = first(network)
    assert bool(state) == (norm == "batch")
    features, moved = network.apply(parameters, state, inputs, training=True)
    own = ({name: value[1:2] for name, value in tree.items()} for tree in (parameters, state))
    alone, alone_moved = network.apply(*own, inputs[1:2], training=True)
    torch.testing.assert_close(alone, features[1:2], rtol=1e-9, atol=1e-9)
    for name, value in alone_moved.items():
        torch.testing.assert_close(value, moved[name][1:2], rtol=1e-9, atol=1e-9)
        assert not torch.equal(moved[name], state[name])  # moved, and what was given stays


def test_group_norm_is_torchs_a_seed() -> None:
    network, inputs = made(4, norm="group", groups=2), images(SHAPE, 3)
    parameters, state = first(network)
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    network.apply(parameters, state, inputs, training=True, taps=lambda name, x, y: seen.setdefault(name, (x, y))[1])
    x, y = seen["layer2.0.bn1"]
    for seed in range(3):
        weight, bias = parameters["layer2.0.bn1.weight"][seed], parameters["layer2.0.bn1.bias"][seed]
        torch.testing.assert_close(y[seed], F.group_norm(x[seed], 2, weight, bias))


def test_a_last_batch_of_one_sample_is_taken_where_it_has_no_variance() -> None:
    network, inputs = made(shape=(1, 8, 8)), images((1, 8, 8), 3, batch=1)
    parameters, state = first(network)
    features, moved = network.apply(parameters, state, inputs, training=True)
    assert torch.isfinite(features).all()
    assert all(torch.isfinite(value).all() for value in moved.values())


def test_taps_see_convolutions_and_norms() -> None:
    network, inputs = made(), images(SHAPE, 3)
    parameters, state = first(network)
    shapes: dict[str, tuple[int, ...]] = {}

    def nothing_of_the_last(name: str, x: Tensor, y: Tensor) -> Tensor:
        shapes[name] = tuple(y.shape)
        return y * 0 if name.startswith("layer4.1.bn2") else y

    features = network.apply(parameters, state, inputs, training=True, taps=nothing_of_the_last)[0]
    assert {f"{name}.weight" for name in shapes} == {name for name in parameters if name.endswith(".weight")}
    assert shapes["layer4.1.conv1"] == (3, 6, 32, 2, 2)
    assert not torch.equal(features, network.apply(parameters, state, inputs, training=True)[0])
