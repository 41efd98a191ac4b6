from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from small_streams import CPU

from nlbench import Problem
from nlbench.errors import NlbenchError
from nlbench.learners.heads import SCALE, Head
from nlbench.networks.config import MlpConfig
from nlbench.networks.mlp import Mlp

S, N, WIDTH, C = 3, 5, 6, 4


def head(kind: str, scenario: str = "task-il", logits: bool = False) -> Head:
    problem = Problem((8,), C, (0, 1, 2), scenario, CPU, "auto", 10)
    network = Mlp(MlpConfig(kind="mlp", hidden=(WIDTH,)), problem)
    network.returns_logits = logits
    return Head(kind, network, problem)  # type: ignore[arg-type]


def features(seeds: int = S) -> torch.Tensor:
    return torch.randn(seeds, N, WIDTH, generator=torch.Generator().manual_seed(0))


def test_one_head_is_a_linear_layer_a_seed_whatever_the_task() -> None:
    made = head("one")
    parameters = made.initial()
    assert {name: tuple(value.shape) for name, value in parameters.items()} == {"head.weight": (S, C, WIDTH), "head.bias": (S, C)}
    logits = made.logits(parameters, features(), 2)
    for seed in range(S):
        expected = F.linear(features()[seed], parameters["head.weight"][seed], parameters["head.bias"][seed])
        torch.testing.assert_close(logits[seed], expected)
    assert made.known(parameters, 7)


@pytest.mark.parametrize("kind", ["one", "task"])
def test_a_head_starts_as_its_network_does(kind: Literal["one", "task"]) -> None:
    problem = Problem((8,), C, (0, 1, 2), "task-il", CPU, "auto", 10)
    network = Mlp(MlpConfig(kind="mlp", hidden=(WIDTH,), spread=0.5), problem)
    parameters = {**network.initial((0, 1, 2))[0], **Head(kind, network, problem).initial(2)}
    assert {float(value.unique()) for name, value in parameters.items() if name.endswith("bias")} == {0.5}
    assert all(float(value.abs().max()) > 0.41 for value in parameters.values())  # a linear layer of 6 inputs starts within .408


def test_a_head_a_task_is_drawn_by_the_task_and_only_where_it_is_told() -> None:
    made = head("task")
    assert made.initial() == {}
    second, third = made.initial(2), made.initial(3)
    assert set(second) == {"head.2.weight", "head.2.bias"}
    assert torch.equal(second["head.2.weight"], made.initial(2)["head.2.weight"])
    assert not torch.equal(second["head.2.weight"], third["head.3.weight"])
    both = {**second, **third}
    assert not torch.equal(made.logits(both, features(), 2), made.logits(both, features(), 3))
    assert (made.known(both, 3), made.known(both, 4)) == (True, False)
    with pytest.raises(NlbenchError, match="a head a task needs to be told the task"):
        made.logits(both, features(), None)
    with pytest.raises(NlbenchError, match="a head a task needs to be told the task, not in class-il"):
        head("task", "class-il")


def test_a_cosine_head_ignores_lengths_and_learns_its_scale() -> None:
    made = head("cosine")
    parameters = made.initial()
    assert set(parameters) == {"head.weight", "head.scale"}
    logits = made.logits(parameters, features(), None)
    expected = F.cosine_similarity(features()[:, :, None], parameters["head.weight"][:, None], dim=-1)
    torch.testing.assert_close(logits, SCALE * expected)
    torch.testing.assert_close(made.logits(parameters, 3 * features(), None), logits)
    assert made.logits(parameters, features(1), None).shape == (S, N, C)


def test_taps_see_the_head_and_replace_its_outputs() -> None:
    for kind in ("one", "task", "cosine"):
        made = head(kind)
        parameters, seen = made.initial(1), []

        def nothing(name: str, x: torch.Tensor, y: torch.Tensor, seen: list = seen) -> torch.Tensor:
            seen.append((name, x.shape, y.shape))
            return y * 0

        assert not made.logits(parameters, features(), 1, nothing).any()
        assert seen == [("head.1" if kind == "task" else "head", (S, N, WIDTH), (S, N, C))]


def test_a_network_of_logits_has_no_head_and_no_other_kind() -> None:
    made = head("one", logits=True)
    assert made.initial() == {}
    assert made.logits({}, features(), None) is not None
    assert made.known({}, 3)
    with pytest.raises(NlbenchError, match="'cosine' needs a network that returns features"):
        head("cosine", logits=True)
