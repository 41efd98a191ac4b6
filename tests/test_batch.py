from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from small_streams import CPU

from nlbench import Batch, Learner, Problem
from nlbench.batch import needs
from nlbench.errors import UnknownNameError
from nlbench.state import STRUCTURE


class Small(Learner):
    def __init__(self, seeds: int = 3) -> None:
        self.weight = torch.arange(seeds * 4.0).view(seeds, 2, 2)
        self.layers = [torch.ones(seeds, 2), torch.zeros(seeds, 2, dtype=torch.int64)]
        self.rate = 0.1
        self.notes = ["text"]


class One(Small):
    single_seed = True

    def __init__(self) -> None:
        super().__init__(1)
        self.weight, self.layers = self.weight[0], [layer[0] for layer in self.layers]


class Network(Learner):
    def __init__(self) -> None:
        self.network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
        self.gain = torch.ones(1, requires_grad=True)


def test_state_is_every_tensor_and_how_all_hangs_together() -> None:
    state = Small().state_dict()
    assert set(state) == {"weight", "layers[0]", "layers[1]", STRUCTURE}
    assert torch.equal(state["weight"], torch.arange(12.0).view(3, 2, 2))


def test_a_loaded_state_is_bit_equal_of_the_same_types_and_not_shared() -> None:
    source, target = Small(), Small()
    source.weight += 0.3
    source.layers[1][:] = 7
    state = source.state_dict()
    layers = target.layers
    target.load_state_dict(state)
    assert target.layers is layers
    for name, value in target.state_dict().items():
        assert torch.equal(value, state[name])
        assert value.dtype == state[name].dtype
        assert name == STRUCTURE or value.data_ptr() != state[name].data_ptr()
    target.weight += 1
    assert not torch.equal(target.weight, source.weight)


def test_the_state_of_a_torch_module_and_of_a_leaf_survives_a_round_trip() -> None:
    source, target = Network(), Network()
    with torch.no_grad():
        source.gain *= 3
        source.network(torch.randn(5, 2, generator=torch.Generator().manual_seed(1)))  # moves the running statistics
        target.load_state_dict({name: value.clone() for name, value in source.state_dict().items()})
    assert len(source.state_dict()) == 1 + 2 + 5 + 1
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)
    assert target.gain.requires_grad
    assert all(value.requires_grad for value in target.network.parameters())


@pytest.mark.parametrize(
    "kind", [torch.optim.Adam, lambda leaves: torch.optim.SGD(leaves, lr=0.1, momentum=0.9)], ids=["adam", "sgd"]
)
def test_a_learner_with_a_torch_optimizer_resumes_bit_equal(kind) -> None:
    class Fitted(Learner):
        def __init__(self) -> None:
            self.weight = torch.ones(2, 3, requires_grad=True)
            self.network = torch.nn.Linear(3, 1)
            with torch.no_grad():
                self.network.weight.fill_(0.5)
                self.network.bias.zero_()
            self.optimizer = kind([self.weight, *self.network.parameters()])

        def step(self, number: int) -> None:
            self.optimizer.zero_grad()
            with torch.enable_grad():
                self.network(self.weight * number).square().sum().backward()
            self.optimizer.step()

    uninterrupted, first, second = Fitted(), Fitted(), Fitted()
    start = {name: value.clone() for name, value in uninterrupted.state_dict().items()}
    for number in range(1, 7):
        uninterrupted.step(number)
    for number in range(1, 4):
        first.step(number)
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    for number in range(4, 7):
        second.step(number)
    expected = uninterrupted.state_dict()
    assert len(expected) > 3
    for name, value in second.state_dict().items():
        assert torch.equal(value, expected[name])
    uninterrupted.load_state_dict(start)
    assert uninterrupted.state_dict().keys() == start.keys()  # back at the start, momenta included


def test_bytes_are_counted_per_seed() -> None:
    one = 4 * 4 + 2 * 4 + 2 * 8
    assert Small(1).memory_bytes() == Small(3).memory_bytes() == One().memory_bytes() == {"parameters": one}
    nothing = Small(3)
    nothing.layers.append(torch.zeros(0, 2))
    assert nothing.memory_bytes() == {"parameters": one}


def test_tensors_in_lists_count_as_parameters_and_plain_numbers_in_lists_as_nothing() -> None:
    learner, before = One(), One().memory_bytes()["parameters"]
    learner.samples = [torch.ones(5), torch.ones(5)]  # type: ignore[attr-defined]
    assert learner.memory_bytes() == {"parameters": before + 2 * 5 * 4}
    learner.samples = [[1.0] * 5, [1.0] * 5]  # type: ignore[attr-defined]
    assert learner.memory_bytes() == {"parameters": before}


def test_unwritten_methods_say_so_and_optional_ones_do_nothing() -> None:
    learner, batch = (
        Small(),
        Batch(torch.zeros(3, 1, 2), torch.zeros(3, 1, dtype=torch.int64), torch.ones(2, dtype=torch.bool), None),
    )
    with pytest.raises(NotImplementedError):
        learner.observe(batch)
    with pytest.raises(NotImplementedError):
        learner.predict(batch.inputs, None)
    assert learner.end_task() is None
    assert learner.diagnostics() == {}
    assert not hasattr(learner, "permute_inputs")


def test_what_learners_are_given_is_frozen() -> None:
    problem = Problem((1, 8, 8), 10, (0, 1), "class-il", CPU, "auto", 5)
    assert problem.n_inputs == 64
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.n_classes = 2  # type: ignore[misc]
    batch = Batch(torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.int64), torch.ones(2, dtype=torch.bool), None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.task = 1  # type: ignore[misc]


def test_who_defines_what_is_called_at_boundaries_needs_them_unless_it_says_otherwise() -> None:
    class Plain(Learner):
        pass

    class Ending(Learner):
        def end_task(self) -> None: ...

    class Content(Ending):
        needs = ()

    class Says(Learner):
        needs = ("boundaries",)

    class Mistyped(Learner):
        needs = ("boundary",)

    assert [needs(kind) for kind in (Plain, Ending, Content, Says)] == [(), ("boundaries",), (), ("boundaries",)]
    with pytest.raises(UnknownNameError, match=r"unknown need of Mistyped 'boundary'\. Did you mean boundaries"):
        needs(Mistyped)


def test_a_problem_is_written_and_read_on_another_machine():
    problem = Problem((1, 8, 8), 10, (3, 7), "class-il", CPU, "numba", 5, "bf16", "image")
    written = json.loads(json.dumps({**problem.written(), "model": "mlp"}))
    assert Problem.read(written, CPU, "reference") == dataclasses.replace(problem, backend="reference")
    assert set(problem.written()) == {field.name for field in dataclasses.fields(Problem)} - {"device", "backend"}
