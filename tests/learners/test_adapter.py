from __future__ import annotations

from typing import Any

import pytest
import torch
from small_streams import CPU, problem_of, rows_of, running, small_stream, untimed
from torch import Tensor

from nlbench import Batch, Learner, Problem
from nlbench import seeds as draws
from nlbench.learners.adapter import EachSeed


class Perceptron(Learner):
    """A linear classifier written for one seed, with momentum and one draw a step."""

    single_seed = True

    def __init__(self, config: Any, problem: Problem) -> None:
        (self.seed,) = problem.seeds
        self.rate = config.get("rate", 0.1)
        start = draws.normal(problem.seeds, "init/weight", (problem.n_classes, problem.n_inputs))[0]
        self.weight = torch.from_numpy(0.1 * start)
        self.velocity = torch.zeros_like(self.weight)
        self.steps = torch.zeros(())
        self.ended = torch.zeros(())

    def observe(self, batch: Batch) -> Tensor:
        assert batch.inputs.ndim == 2
        assert batch.labels.ndim == 1
        self.steps += 1
        noise = draws.normal((self.seed,), f"learner/{int(self.steps)}", self.weight.shape)[0]
        shares = self.predict(batch.inputs, batch.task).masked_fill(~batch.classes, -torch.inf).softmax(-1)
        loss = -shares.gather(1, batch.labels[:, None]).log().mean()
        delta = shares.scatter_add(1, batch.labels[:, None], -torch.ones(len(shares), 1)) / len(shares)
        self.velocity = 0.9 * self.velocity + delta.T @ batch.inputs + 0.01 * torch.from_numpy(noise)
        self.weight = self.weight - self.rate * self.velocity
        return loss

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        assert inputs.ndim == 2
        return inputs @ self.weight.T

    def end_task(self) -> None:
        self.ended += 1

    def diagnostics(self) -> dict[str, Tensor]:
        return {"level.1.updates": self.steps}


class Permuting(Perceptron):
    def permute_inputs(self, order: Tensor) -> None:
        assert order.shape == self.weight.shape[1:]
        self.weight, self.velocity = self.weight[:, order], self.velocity[:, order]


def adapted(seeds: tuple[int, ...], kind: type[Learner] = Perceptron) -> tuple[EachSeed, Any]:
    stream = running(small_stream(boundaries=True, evaluate_every=16, passes=3), seeds)
    return EachSeed(kind, {"rate": 0.05}, problem_of(stream)), stream


def test_looping_over_seeds_equals_running_each_alone() -> None:
    together = untimed(rows_of(*adapted((0, 3, 12))))
    alone = [row for seed in (0, 3, 12) for row in untimed(rows_of(*adapted((seed,))))]
    assert sorted(together, key=str) == sorted(alone, key=str)
    final = {row.seed: row.value for row in together if row.metric == "accuracy" and row.after_task == row.on_task == 3}
    assert min(final.values()) > 0.8  # it learned, so the equality says something


def test_every_method_reaches_every_seed() -> None:
    learner, stream = adapted((0, 1, 2))
    rows = rows_of(learner, stream)
    state = learner.state_dict()
    assert [state[f"{index}/ended"].item() for index in range(3)] == [3, 3, 3]
    assert {row.value for row in rows if row.metric == "level.1.updates" and row.after_task == 3} == {45.0}
    one = 2 * 6 * 6 * 4 + 2 * 4
    assert learner.memory_bytes() == {"parameters": one}


def test_state_goes_to_the_seed_it_came_from_also_with_more_than_ten_seeds() -> None:
    seeds = tuple(range(12))
    source, stream = adapted(seeds)
    rows_of(source, stream)
    target, _ = adapted(seeds)
    target.load_state_dict({name: value.clone() for name, value in source.state_dict().items()})
    expected = source.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in target.state_dict().items())
    x = torch.randn(12, 4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(target.predict(x, None), source.predict(x, None))


@pytest.mark.parametrize(("kind", "can"), [(Perceptron, False), (Permuting, True)])
def test_it_can_permute_inputs_only_if_the_inner_learner_can(kind: type[Learner], can: bool) -> None:
    learner = EachSeed(kind, {}, Problem((6,), 4, (0, 1), "class-il", CPU, "auto", 5))
    assert hasattr(learner, "permute_inputs") == can
    if can:
        order = torch.stack([torch.randperm(6, generator=torch.Generator().manual_seed(seed)) for seed in range(2)])
        x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(5))
        expected = learner.predict(x, None)
        learner.permute_inputs(order)
        assert torch.allclose(learner.predict(x.gather(2, order[:, None].expand_as(x)), None), expected, atol=1e-6)
