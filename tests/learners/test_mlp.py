from __future__ import annotations

import pytest
import torch
from small_streams import CPU
from torch import Tensor, nn
from torch.nn import functional as F

from nlbench import Batch, Problem
from nlbench.errors import BackendError
from nlbench.kernels.mlp_step import WORTH_LOADING
from nlbench.learners.config import MlpConfig
from nlbench.learners.mlp import Mlp
from nlbench.state import STRUCTURE

S, B, D, C = 3, 7, 5, 4


def learner(
    *, hidden: tuple[int, ...] = (6, 8), seeds: tuple[int, ...] = (0, 1, 2), backend: str = "auto", **config: float
) -> Mlp:
    made = Mlp(MlpConfig(kind="mlp", hidden=hidden, **config), Problem((D,), C, seeds, "class-il", CPU, backend, 10))
    for tensors in (made.weights, made.biases, made.weight_velocities, made.bias_velocities):
        tensors[:] = [tensor.double() for tensor in tensors]
    return made


def batch(step: int, classes: list[bool] | None = None) -> Batch:
    draw = torch.Generator().manual_seed(step)
    competing = torch.tensor(classes or [True] * C)
    labels = torch.randint(C, (S, B), generator=draw)
    allowed = competing.nonzero().flatten()
    return Batch(torch.randn(S, B, D, generator=draw).double(), allowed[labels % len(allowed)], competing, None)


def network(made: Mlp, index: int) -> nn.Sequential:
    """Return seed `index` of the learner as an ordinary torch module."""
    layers: list[nn.Module] = []
    for weight, bias in zip(made.weights, made.biases, strict=True):
        layer = nn.Linear(weight.shape[2], weight.shape[1], dtype=torch.float64)
        layer.weight.data, layer.bias.data = weight[index].clone(), bias[index].clone()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("hidden", [(), (6,), (6, 8)])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("classes", [None, [True, False, True, False]])
def test_steps_are_those_of_torch_sgd_by_autograd(
    backend: str, hidden: tuple[int, ...], momentum: float, classes: list[bool] | None
) -> None:
    made = learner(hidden=hidden, backend=backend, rate=0.3, momentum=momentum)
    twins = [network(made, index) for index in range(S)]
    optimizers = [torch.optim.SGD(twin.parameters(), lr=0.3, momentum=momentum) for twin in twins]
    for step in range(4):
        shown = batch(step, classes)
        loss = made.observe(shown)
        for index, (twin, optimizer) in enumerate(zip(twins, optimizers, strict=True)):
            logits = twin(shown.inputs[index]).masked_fill(~shown.classes, -torch.inf)
            expected = F.cross_entropy(logits, shown.labels[index])
            optimizer.zero_grad()
            expected.backward()
            optimizer.step()
            assert loss[index].item() == pytest.approx(expected.item(), abs=1e-12)
    for index, twin in enumerate(twins):
        found = [tensor[index] for pair in zip(made.weights, made.biases, strict=True) for tensor in pair]
        for ours, theirs in zip(found, twin.parameters(), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-12)
        x = batch(9).inputs
        assert torch.allclose(made.predict(x, None)[index], twin(x[index]), atol=1e-12)


def test_a_class_that_does_not_compete_gets_no_gradient() -> None:
    made = learner(hidden=(6,))
    before = made.weights[1].clone()
    made.observe(batch(0, [True, False, True, False]))
    assert torch.equal(made.weights[1][:, [1, 3]], before[:, [1, 3]])
    assert not torch.equal(made.weights[1][:, [0, 2]], before[:, [0, 2]])


@pytest.mark.parametrize("hidden", [(6,), (300, 300)])
def test_the_number_of_threads_changes_no_bit(hidden: tuple[int, ...]) -> None:
    """The larger one is shared out by blocks of samples and rows."""
    before, found = torch.get_num_threads(), []
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(1, 100, 300, generator=draw), torch.randint(C, (1, 100), generator=draw)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        made = Mlp(MlpConfig(kind="mlp", hidden=hidden), Problem((300,), C, (0,), "class-il", CPU, "numba", 10))
        for _ in range(3):
            made.observe(Batch(x, y, torch.ones(C, dtype=torch.bool), None))
        found.append([*made.weights, *made.biases])
    torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_backend_that_cannot_run_is_refused_before_the_first_batch() -> None:
    with pytest.raises(BackendError, match="backend 'triton' cannot run mlp_step"):
        learner(backend="triton")


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_bf16_is_of_products_only_and_what_is_kept_stays_float32(momentum: float) -> None:
    config = MlpConfig(kind="mlp", hidden=(6,), momentum=momentum)
    made, plain = (
        Mlp(config, Problem((D,), C, (0, 1, 2), "class-il", CPU, "reference", 10, precision)) for precision in ("bf16", "float32")
    )
    shown = batch(0)
    shown = Batch(shown.inputs.float(), shown.labels, shown.classes, None)
    losses = [each.observe(shown) for each in (made, plain)]
    logits = [each.predict(shown.inputs, None) for each in (made, plain)]
    for ours, theirs in [losses, logits, *zip(made.weights + made.biases, plain.weights + plain.biases, strict=True)]:
        assert ours.dtype == torch.float32
        assert not torch.equal(ours, theirs)
        assert torch.allclose(ours, theirs, rtol=0, atol=4 * torch.finfo(torch.bfloat16).eps * float(theirs.abs().max()))
    assert made.memory_bytes() == plain.memory_bytes()
    assert made.backend == "reference"


def test_initial_values_are_those_of_torch_linear_in_range_and_a_seeds_own() -> None:
    many, alone = learner(hidden=(200,), seeds=(4, 5, 6)), learner(hidden=(200,), seeds=(5,))
    for ours, theirs in zip(many.weights + many.biases, alone.weights + alone.biases, strict=True):
        assert torch.equal(ours[1], theirs[0])
        assert not torch.equal(ours[0], ours[1])
    for weight, bias in zip(many.weights, many.biases, strict=True):
        bound = weight.shape[2] ** -0.5
        for values in (weight, bias):
            assert values.abs().max() < bound
        assert weight.abs().max() > 0.95 * bound


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_permuting_inputs_permutes_weights_and_momenta_there_and_back_bit_exactly(momentum: float) -> None:
    made = learner(momentum=momentum)
    made.observe(batch(0))
    order = torch.stack([torch.randperm(D, generator=torch.Generator().manual_seed(seed)) for seed in range(S)])
    before = {name: value.clone() for name, value in made.state_dict().items()}
    x = batch(1).inputs
    expected = made.predict(x, None)
    made.permute_inputs(order)
    shown = torch.stack([each[:, own] for each, own in zip(x, order, strict=True)])
    assert torch.allclose(made.predict(shown, None), expected, atol=1e-12)
    names = ["weights[0]", *(["weight_velocities[0]"] if momentum else [])]
    for name, value in made.state_dict().items():
        moved = (
            torch.stack([each[:, own] for each, own in zip(before[name], order, strict=True)]) if name in names else before[name]
        )
        assert torch.equal(value, moved)
    made.permute_inputs(order.argsort(1))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_predicting_changes_nothing_and_takes_inputs_shared_by_all_seeds() -> None:
    made = learner()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    x = batch(0).inputs[:1]
    first = made.predict(x, None)
    assert first.shape == (S, B, C)
    assert torch.equal(made.predict(x, 3), first)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_state_and_bytes_are_complete() -> None:
    made = Mlp(MlpConfig(kind="mlp", hidden=(6,), momentum=0.5), Problem((D,), C, (0, 1), "class-il", CPU, "auto", 10))
    numbers = 6 * D + 6 + 6 * C + C
    assert made.memory_bytes() == {"parameters": 4 * numbers, "optimizer": 4 * numbers}
    held = [value for name, value in made.state_dict().items() if name != STRUCTURE]
    assert sum(value.numel() for value in held) == 2 * 2 * numbers
    plain = Mlp(MlpConfig(kind="mlp", hidden=(6,)), Problem((D,), C, (0, 1), "class-il", CPU, "auto", 10))
    assert plain.memory_bytes() == {"parameters": 4 * numbers, "optimizer": 0}


def test_images_are_flattened() -> None:
    made = Mlp(MlpConfig(kind="mlp", hidden=(6,)), Problem((1, 2, 3), C, (0,), "class-il", CPU, "auto", 10))
    images: Tensor = torch.arange(12.0).view(1, 2, 1, 2, 3)
    assert torch.equal(made.predict(images, None), made.predict(images.flatten(2), None))


def test_a_run_too_short_to_repay_loading_the_kernel_stays_with_torch_whatever_its_seeds() -> None:
    def chosen(steps: int, seeds: tuple[int, ...], backend: str = "auto") -> str:
        return Mlp(MlpConfig(kind="mlp", hidden=(8,)), Problem((D,), C, seeds, "class-il", CPU, backend, steps)).backend

    parameters = 8 * D + C * 8
    enough = -(-WORTH_LOADING // parameters)
    assert [chosen(enough - 1, (0,)), chosen(enough - 1, (0, 1, 2)), chosen(10, (0,), "numba")] == ["reference"] * 2 + ["numba"]
    assert [chosen(enough, (0,)), chosen(enough, (0, 1, 2)), chosen(enough, (0,), "reference")] == ["numba"] * 2 + ["reference"]


def test_a_state_says_nothing_of_what_trained_it() -> None:
    config = MlpConfig(kind="mlp", hidden=(6,), momentum=0.5)
    made = [Mlp(config, Problem((D,), C, (0, 1), "class-il", CPU, backend, 10)) for backend in ("numba", "reference")]
    found, expected = (each.state_dict() for each in made)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    made[1].load_state_dict(found)
    assert [(each.backend, each.takes_batches) for each in made] == [("numba", True), ("reference", False)]
