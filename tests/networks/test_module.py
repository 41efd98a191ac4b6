from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from small_networks import C, first, images, problem, put_into
from torch import Tensor, nn

from nlbench import Problem
from nlbench.errors import NlbenchError, Remark
from nlbench.networks.config import MlpConfig, ModuleConfig
from nlbench.networks.mlp import Mlp
from nlbench.networks.module import Module
from nlbench.networks.network import require_taps

SHAPE = (1, 8, 8)

BUILD = """
from torch import nn

def build(input_shape, n_classes, width):
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[1] * input_shape[2], width), nn.Linear(width, n_classes))
"""


def small(n_classes: int, width: int = 5) -> nn.Module:
    layers = (
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, width),
        nn.ReLU(),
        nn.Linear(width, n_classes),
    )
    return nn.Sequential(*layers)


def lazy(n_classes: int) -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(2, 3), nn.LazyBatchNorm2d(affine=False), nn.Flatten(), nn.LazyLinear(n_classes))


class Asking(nn.Module):
    """Asks the host for a number, which torch.func cannot map over seeds."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.inner = nn.Linear(64, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x.flatten(1))
        return -y if y.sum().item() > 1e9 else y


def made(build: object = small, seeds: tuple[int, ...] = (0, 1, 2), **config: object) -> Module:
    declared = ModuleConfig.model_validate({"kind": "module", "build": "test:build", **config})
    return Module(declared, problem(SHAPE, seeds), build)  # type: ignore[arg-type]


class Counting(nn.Module):
    """Puts another tensor in the place of a buffer at each call."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.inner = nn.Linear(64, n_classes)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return self.inner(x.flatten(1))


class Unregistered(nn.Module):
    """Has its parameters in a plain list."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.layers = [nn.Linear(64, n_classes)]

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[0](x.flatten(1))


class Frozen(nn.Module):
    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.inner = nn.Linear(64, n_classes).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flatten(1))


@pytest.mark.parametrize("seeds", [(0, 1, 2), (7,)])
def test_a_buffer_that_is_replaced_in_training_is_kept_and_the_module_is_left_as_it_was(seeds: tuple[int, ...]) -> None:
    network, inputs = made(Counting, seeds), images(SHAPE, len(seeds)).float()
    own = dict(network._module.named_parameters())
    parameters, state = network.initial(seeds)
    for _ in range(2):
        state = network.apply(parameters, state, inputs, training=True)[1]
    assert state["calls"].tolist() == [2.0] * len(seeds)
    assert network.apply(parameters, state, inputs, training=False)[1]["calls"].tolist() == [2.0] * len(seeds)
    assert all(value is own[name] for name, value in network._module.named_parameters())


@pytest.mark.parametrize("seeds", [(0, 1, 2), (7,)])
def test_a_module_is_that_of_each_seed_in_training_and_at_test(seeds: tuple[int, ...]) -> None:
    network, inputs = made(seeds=seeds), images(SHAPE, len(seeds))
    parameters, state = first(network, seeds)
    before = {name: value.clone() for name, value in state.items()}
    features, moved = network.apply(parameters, state, inputs, training=True)
    assert (features.shape, network.width, network.returns_logits) == ((len(seeds), 6, C), C, True)
    gradients = torch.autograd.grad(features.square().sum(), list(parameters.values()))
    for seed in range(len(seeds)):
        twin = small(C).double()
        put_into(twin, {**parameters, **before}, seed)
        expected = twin(inputs[seed])
        torch.testing.assert_close(features[seed], expected)
        for ours, theirs in zip(gradients, torch.autograd.grad(expected.square().sum(), list(twin.parameters())), strict=True):
            torch.testing.assert_close(ours[seed], theirs)
        for name, value in moved.items():
            torch.testing.assert_close(value[seed], twin.state_dict()[name])
            assert torch.equal(state[name], before[name])  # what was given stays
        tested, same = network.apply(parameters, moved, inputs, training=False)
        torch.testing.assert_close(tested[seed], twin.eval()(inputs[seed]))
        assert all(torch.equal(same[name], moved[name]) for name in moved)


def test_it_starts_as_its_seed_decides_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    (many, _), (alone, _) = made().initial((0, 1, 2)), made(seeds=(2,)).initial((2,))
    assert torch.equal(before, torch.get_rng_state())
    for name, value in alone.items():
        assert torch.equal(value[0], many[name][2])
        assert "bias" in name or name == "1.weight" or not torch.equal(many[name][0], many[name][2])


def test_given_the_same_weights_it_is_the_built_in_network() -> None:
    own = Mlp(MlpConfig(kind="mlp", hidden=(7,)), problem(SHAPE))
    sequential = made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU()), outputs="features")
    parameters, _ = first(own)
    theirs = {"1.weight": parameters["layer0.weight"], "1.bias": parameters["layer0.bias"]}
    inputs = images(SHAPE, 3)
    expected = own.apply(parameters, {}, inputs, training=True)[0]
    torch.testing.assert_close(sequential.apply(theirs, {}, inputs, training=True)[0], expected)
    assert (sequential.width, sequential.returns_logits) == (7, False)


@pytest.mark.parametrize(
    ("build", "reason"),
    [(Asking, "item"), (lambda n_classes: nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, n_classes)), "draws")],
)
def test_what_cannot_be_stacked_is_looped_and_says_so(build: object, reason: str) -> None:
    with pytest.warns(Remark, match=f"test:build: its seeds are trained one after another.*{reason}"):
        network = made(build)
    parameters, state = first(network)
    inputs = images(SHAPE, 3)
    assert network.apply(parameters, state, inputs, training=True)[0].shape == (3, 6, C)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(seeds=(0,), build=build)  # one seed is no loop


def test_dropout_is_decided_by_the_seed_and_how_often_it_drew() -> None:
    def build(n_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 50), nn.Dropout(), nn.Linear(50, n_classes))

    with pytest.warns(Remark, match="draws numbers"):
        many = made(build)
    alone, inputs = made(build, seeds=(2,)), images(SHAPE, 3).float()
    parameters, state = many.initial((0, 1, 2))
    own, own_state = alone.initial((2,))
    before = torch.get_rng_state()
    one, after = many.apply(parameters, state, inputs, training=True)
    two, last = many.apply(parameters, after, inputs, training=True)
    again = many.apply(parameters, state, inputs, training=True)[0]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
    lone, own_after = alone.apply(own, own_state, inputs[2:], training=True)
    torch.testing.assert_close(lone, one[2:])
    torch.testing.assert_close(alone.apply(own, own_after, inputs[2:], training=True)[0], two[2:])
    tested, same = many.apply(parameters, last, inputs, training=False)
    assert torch.equal(tested, many.apply(parameters, last, inputs, training=False)[0])
    assert same is last


def test_a_module_in_place_of_a_function_is_the_start_of_every_seed() -> None:
    module = small(C)
    parameters, _ = made(module).initial((0, 1, 2))
    assert torch.equal(parameters["4.weight"], module[4].weight.detach().expand(3, -1, -1))
    made(module)
    assert module.training


def test_lazy_layers_take_the_sizes_of_the_stream_and_start_as_the_seed_decides() -> None:
    before = torch.get_rng_state()
    network = made(lazy)
    (many, state), (alone, _) = network.initial((0, 1, 2)), network.initial((2,))
    assert torch.equal(before, torch.get_rng_state())
    assert {name: tuple(value.shape) for name, value in many.items()} == {
        "0.weight": (3, 2, 1, 3, 3), "0.bias": (3, 2), "3.weight": (3, C, 72), "3.bias": (3, C)
    }  # fmt: skip
    assert torch.equal(state["1.running_mean"], torch.zeros(3, 2))  # sizes are found as at test
    for name, value in alone.items():
        assert torch.equal(value[0], many[name][2])
        assert not torch.equal(many[name][0], many[name][2])
    assert network.apply(many, state, images(SHAPE, 3).float(), training=True)[0].shape == (3, 6, C)


def test_frozen_parameters_are_state() -> None:
    def build(n_classes: int) -> nn.Module:
        module = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, n_classes))
        module[1].requires_grad_(False)
        return module

    parameters, state = made(build).initial((0, 1))
    assert (set(parameters), set(state)) == ({"2.weight", "2.bias"}, {"1.weight", "1.bias"})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: 3, "must return a torch.nn.Module, got 3"),
        (lazy(C), r"test:build: the module has lazy layers without sizes\. Give a function that makes it, or call it once"),
        (lambda: nn.Sequential(nn.LazyLinear(5), nn.Linear(9, C)), "test:build.forward raised RuntimeError"),
        (lambda: nn.Flatten(2), "the module must return"),
        (lambda: nn.Linear(3, 4), "test:build.forward raised RuntimeError"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 9)), "returns 9 logits, and the stream has 4 classes"),
        (lambda input_shape: nn.Linear(*input_shape, 2, 3, 4, 5), "raised TypeError"),
        (
            lambda n_inputs: nn.Linear(n_inputs, 2),
            r"TypeError: .* It is made with input_shape .* and with learner\.network\.NAME",
        ),
        (Unregistered, r"test:build: the module must have parameters that are registered, got none\. Make them nn\.Parameter"),
        (Frozen, r"the module must have parameters that are trained, got none\. Set learner\.network\.outputs = \"features\""),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(build: object, message: str) -> None:
    with pytest.raises(NlbenchError, match=message):
        made(build)


def test_a_file_or_a_package_names_what_builds_it(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(BUILD)
    config = ModuleConfig(kind="module", build=f"{file}:build", options={"width": 3})
    assert Module(config, problem(SHAPE)).initial((0,))[0]["1.weight"].shape == (1, 3, 64)
    with pytest.raises(NlbenchError, match=r"'width'.* and with learner\.network\.options\.NAME"):
        Module(config.model_copy(update={"options": {}}), problem(SHAPE))


def test_a_frozen_module_of_features_is_taken() -> None:
    parameters, state = made(Frozen, outputs="features").initial((0, 1))
    assert (set(parameters), set(state)) == (set(), {"inner.weight", "inner.bias"})


def test_a_method_that_needs_taps_is_refused_by_name() -> None:
    with pytest.raises(NlbenchError, match="gpm needs the inputs of every layer, which network 'module' does not give"):
        require_taps(made(), "gpm")
    require_taps(Mlp(MlpConfig(kind="mlp"), problem(SHAPE)), "gpm")


@pytest.mark.parametrize("shared", ["layer", "tensors"])
def test_a_layer_or_tensors_of_two_names_are_one(shared: str) -> None:
    class Twice(nn.Module):
        def __init__(self, n_classes: int) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = self.first if shared == "layer" else nn.Linear(4, 4)
            self.second.weight, self.second.bias = self.first.weight, self.first.bias
            self.last = nn.Linear(4, n_classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.second(self.first(x.flatten(1))))

    for seeds in ((0,), (0, 1)):
        told = Problem((4,), 3, seeds, "class-il", torch.device("cpu"), "auto", 1)
        network = Module(ModuleConfig(kind="module", build="given"), told, Twice)
        parameters, state = network.initial(seeds)
        assert {*parameters} == {f"{layer}.{part}" for layer in ("first", "last") for part in ("weight", "bias")}
        x = torch.randn(len(seeds), 5, 4)
        found, _ = network.apply(parameters, state, x, training=True)
        for s in range(len(seeds)):
            w, b = (parameters[f"first.{part}"][s] for part in ("weight", "bias"))
            hidden = (x[s] @ w.T + b) @ w.T + b
            wanted = hidden @ parameters["last.weight"][s].T + parameters["last.bias"][s]
            torch.testing.assert_close(found[s], wanted)
