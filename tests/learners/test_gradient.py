from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from quick_cases import quick_if
from small_streams import CPU
from torch import Tensor, nn
from torch.nn import functional as F

from nlbench import Batch, Problem
from nlbench.errors import NlbenchError
from nlbench.learners.gradient import GradientLearner, cross_entropy
from nlbench.learners.gradient_config import NaiveConfig
from nlbench.networks.network import Tree
from nlbench.state import STRUCTURE

S, B, C = 3, 7, 4
SHAPE = (1, 8, 8)
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "mlp", "hidden": [6, 5]},
    "convolutional": {"kind": "convolutional", "channels": [3, 4]},
    "resnet18": {"kind": "resnet18", "width": 4},
}


def learner(
    network: str = "mlp",
    *,
    kind: type[GradientLearner] = GradientLearner,
    seeds: tuple[int, ...] = (0, 1, 2),
    precision: str = "float32",
    scenario: str = "class-il",
    **config: Any,
) -> GradientLearner:
    declared = NaiveConfig.model_validate({"kind": "naive", "network": NETWORKS[network], **config})
    return kind(declared, Problem(SHAPE, C, seeds, scenario, CPU, "auto", 10, precision))


def batch(step: int, classes: tuple[bool, ...] = (True,) * C, task: int | None = None, seeds: slice = slice(None)) -> Batch:
    draw = torch.Generator().manual_seed(step)
    competing = torch.tensor(classes)
    allowed = competing.nonzero().flatten()
    inputs, labels = torch.randn(S, B, *SHAPE, generator=draw), allowed[torch.randint(C, (S, B), generator=draw) % len(allowed)]
    return Batch(inputs[seeds], labels[seeds], competing, task)


def in_float64(made: GradientLearner) -> GradientLearner:
    doubled = {name: value.double() if value.is_floating_point() else value for name, value in made.state_dict().items()}
    made.load_state_dict(doubled)
    return made


def test_steps_are_those_of_a_torch_module_and_its_optimizer_a_seed() -> None:
    made = learner(optimizer={"kind": "sgd", "rate": 0.3, "momentum": 0.9})
    classes = (True, False, True, True)
    twins, optimizers = [], []
    for seed in range(S):
        twin = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, C))
        with torch.no_grad():
            for own, value in zip(twin.parameters(), made.parameters.values(), strict=True):
                own.copy_(value[seed])
        twins.append(twin)
        optimizers.append(torch.optim.SGD(twin.parameters(), lr=0.3, momentum=0.9))
    for step in range(4):
        shown = batch(step, classes)
        losses = made.observe(shown)
        assert not losses.requires_grad
        for seed, (twin, optimizer) in enumerate(zip(twins, optimizers, strict=True)):
            loss = F.cross_entropy(twin(shown.inputs[seed]).masked_fill(~shown.classes, -torch.inf), shown.labels[seed])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            torch.testing.assert_close(losses[seed], loss.detach())
    x = batch(9).inputs
    for seed, twin in enumerate(twins):
        torch.testing.assert_close(made.predict(x, None)[seed], twin(x[seed]).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "delta-momentum"])
def test_a_seed_alone_equals_it_among_others(network: str, optimizer: str) -> None:
    """In float64: statistics of seven samples at 1x1 pixel make of a rounding of float32 whatever they like."""
    made = (learner(network, seeds=seeds, optimizer={"kind": optimizer, "rate": 0.01}) for seeds in ((0, 1, 2), (1,)))
    many, alone = map(in_float64, made)
    for step in range(3):
        shown, one = (batch(step, seeds=seeds) for seeds in (slice(None), slice(1, 2)))
        losses = many.observe(replace(shown, inputs=shown.inputs.double()))
        torch.testing.assert_close(alone.observe(replace(one, inputs=one.inputs.double())), losses[1:2])
    x = batch(9).inputs.double()
    torch.testing.assert_close(alone.predict(x[1:2], None), many.predict(x, None)[1:2])
    assert alone.memory_bytes() == many.memory_bytes()


@pytest.mark.parametrize(
    ("optimizer", "network"),
    [
        quick_if(network != "resnet18" or optimizer == "sgd", optimizer, network)
        for optimizer, network in product(("sgd", "adam", "preconditioned-momentum", "m3", "dmgd"), NETWORKS)
    ],
)
def test_it_resumes_bit_equal_and_back_to_its_start(network: str, optimizer: str) -> None:
    made, other = (
        learner(network, optimizer={"kind": optimizer, **({"momentum": 0.9} if optimizer == "sgd" else {})}) for _ in "ab"
    )
    start = {name: value.clone() for name, value in made.state_dict().items()}
    first = [made.observe(batch(step)) for step in range(3)]
    other.load_state_dict({name: value.clone() for name, value in made.state_dict().items()})
    for step in range(3, 6):
        assert torch.equal(made.observe(batch(step)), other.observe(batch(step)))
    for name, value in made.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    made.load_state_dict(start)
    assert [loss.tolist() for loss in first] == [made.observe(batch(step)).tolist() for step in range(3)]


def test_prediction_changes_nothing_and_rows_are_independent_after_training() -> None:
    made = learner("resnet18")
    made.observe(batch(0))
    assert all(value.any(1).all() for name, value in made.state.items() if "mean" in name)  # a batch moved the statistics
    before = {name: value.clone() for name, value in made.state_dict().items()}
    x = torch.randn(1, 1001, *SHAPE, generator=torch.Generator().manual_seed(3))
    logits = made.predict(x, None)
    assert logits.shape == (S, 1001, C)
    assert not logits.requires_grad
    torch.testing.assert_close(made.predict(x[:, 700:705], None), logits[:, 700:705], rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_a_head_a_task_is_made_when_its_task_comes_and_no_other_moves() -> None:
    made = learner(head="task", scenario="task-il", optimizer={"kind": "adam"})
    x = batch(0).inputs
    untrained = made.predict(x, 2)
    assert "head.2.weight" not in made.parameters
    for step in range(3):
        made.observe(batch(step, task=1))
    first = {name: value.detach().clone() for name, value in made.parameters.items() if name.startswith("head.1")}
    made.observe(batch(3, task=2))
    assert set(first) == {"head.1.weight", "head.1.bias"}
    assert all(torch.equal(made.parameters[name], value) for name, value in first.items())
    assert (made.slots["step"]["head.1.weight"], made.slots["step"]["head.2.weight"]) == (3, 1)
    resumed = learner(head="task", scenario="task-il", optimizer={"kind": "adam"})
    assert torch.equal(resumed.predict(x, 2), untrained)
    resumed.load_state_dict({name: value.clone() for name, value in made.state_dict().items()})
    for task in (1, 2):
        assert torch.equal(made.observe(batch(4, task=task)), resumed.observe(batch(4, task=task)))
        assert torch.equal(made.predict(x, task), resumed.predict(x, task))
    with pytest.raises(NlbenchError, match="told the task"):
        made.observe(batch(5))


def test_a_method_overrides_loss_adjust_and_after_step() -> None:
    class Method(GradientLearner):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.anchor = {name: value.detach().clone() for name, value in self.parameters.items()}
            self.count = torch.zeros(S)

        def loss(self, batch: Batch) -> Tensor:
            pull = [(value - self.anchor[name]).square().flatten(1).sum(1) for name, value in self.parameters.items()]
            return super().loss(batch) + 10 * torch.stack(pull).sum(0)

        def adjust(self, gradients: Tree) -> Tree:
            return {name: value for name, value in gradients.items() if name != "layer0.weight"}

        def after_step(self, batch: Batch) -> None:
            self.count += batch.inputs.shape[1]

    made, plain = learner(kind=Method), learner()
    for step in range(3):
        made.observe(batch(step))
        plain.observe(batch(step))
    assert torch.equal(made.parameters["layer0.weight"], made.anchor["layer0.weight"])
    moved, free = (each.parameters["head.weight"] - made.anchor["head.weight"] for each in (made, plain))
    assert 0 < moved.norm() < free.norm()
    assert made.count.tolist() == [3 * B] * S
    sizes, others = made.memory_bytes(), plain.memory_bytes()
    assert sizes["memory"] == sizes["parameters"] + 4
    assert (others["memory"], others["parameters"]) == (0, sizes["parameters"])


def test_bytes_are_those_of_parameters_statistics_and_slots() -> None:
    made = learner("resnet18", optimizer={"kind": "adam"})
    weights, statistics = (sum(v.nbytes for v in tree.values()) // S for tree in (made.parameters, made.state))
    assert made.memory_bytes() == {
        "parameters": weights + statistics,
        "optimizer": 2 * weights + 4 * len(made.parameters),
        "memory": 0,
    }
    assert [name for name in made.state_dict() if name == STRUCTURE] == [STRUCTURE]


@pytest.mark.parametrize("network", NETWORKS)
def test_bf16_is_of_products_only_and_what_is_kept_stays_float32(network: str) -> None:
    made, plain = (learner(network, precision=precision) for precision in ("bf16", "float32"))
    losses, exact = (each.observe(batch(0)) for each in (made, plain))
    assert not torch.equal(losses, exact)
    torch.testing.assert_close(losses, exact, rtol=0.05, atol=0.05)
    assert {value.dtype for value in (*made.parameters.values(), *made.state.values(), made.predict(batch(0).inputs, None))} == {
        torch.float32
    }


def test_the_loss_is_over_the_classes_that_compete() -> None:
    logits = torch.randn(S, B, C, generator=torch.Generator().manual_seed(0), requires_grad=True)
    shown = batch(0, (True, False, True, False))
    losses = cross_entropy(logits, shown.labels, shown.classes)
    for seed in range(S):
        expected = F.cross_entropy(logits[seed][:, shown.classes], shown.labels[seed] // 2)
        torch.testing.assert_close(losses[seed], expected)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert not gradient[..., ~shown.classes].any()
    assert gradient[..., shown.classes].all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "delta-momentum"])
def test_captured_steps_are_those_as_written_to_the_bit(network: str, optimizer: str) -> None:
    class Written(GradientLearner):
        captured = False

    config = {"network": NETWORKS[network], "optimizer": {"kind": optimizer}}
    problem = Problem(SHAPE, C, (0, 1, 2), "class-il", torch.device("cuda"), "auto", 10)
    captured, written = (
        kind(NaiveConfig.model_validate({"kind": "naive", **config}), problem) for kind in (GradientLearner, Written)
    )
    for step in range(5):
        shown = batch(step)
        given = Batch(shown.inputs.cuda(), shown.labels.cuda(), shown.classes.cuda(), None)
        assert torch.equal(captured.observe(given), written.observe(given))
    for name, value in captured.state_dict().items():
        assert name == STRUCTURE or torch.equal(value, written.state_dict()[name])
