from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from small_streams import CPU
from torch import Tensor, nn
from torch.nn import functional as F

from nlbench import Batch, NlbenchError, Problem
from nlbench.learners.config import LevelsConfig
from nlbench.learners.levels import Levels
from nlbench.learners.naive import Naive
from nlbench.nested.layers import Draws
from nlbench.nested.level_optimizer import LevelOptimizer
from nlbench.networks.sequence import Reader

S, B, C = 2, 6, 3
ALL = torch.ones(C, dtype=torch.bool)
NETWORK: dict[str, Any] = {"kind": "sequence", "tokens": 2, "width": 8, "heads": 2, "periods": [1, 2, 4], "mixer": "attention"}


def learner(seeds: tuple[int, ...] = (0, 1), steps: int = 100, network: dict[str, Any] | None = None, **table: Any) -> Levels:
    config = LevelsConfig.model_validate({"kind": "levels", "network": {**NETWORK, **(network or {})}, **table})
    return Levels(config, Problem((6,), C, seeds, "class-il", CPU, "auto", steps))


def batch(step: int, seeds: tuple[int, ...] = (0, 1)) -> Batch:
    draws = [torch.Generator().manual_seed(100 * step + seed) for seed in seeds]
    inputs = torch.stack([torch.randn(B, 6, generator=draw) for draw in draws])
    return Batch(inputs, torch.stack([torch.randint(C, (B,), generator=draw) for draw in draws]), ALL, None)


class Plain(nn.Module):
    """The same network of one seed, as a module of nlbench.nested with a linear head."""

    def __init__(self, made: Levels, seed: int) -> None:
        super().__init__()
        config = made._config.network
        self.reader = Reader(config, 3, 2, Draws((seed,), seed_axis=False))  # type: ignore[arg-type]
        self.head = nn.Linear(8, C)
        with torch.no_grad():
            self.head.weight.copy_(made.parameters["head.weight"][seed])
            self.head.bias.copy_(made.parameters["head.bias"][seed])

    def forward(self, x: Tensor) -> Tensor:
        read, _ = self.reader(x.unflatten(1, (2, 3)), None)
        return self.head(read.mean(1))


@pytest.mark.parametrize("memory", ["sequential", "nested", "headwise"])
@pytest.mark.parametrize(
    ("table", "make", "plan"),
    [
        ({"optimizer": {"kind": "sgd", "rate": 0.2}}, lambda p, _: torch.optim.SGD(p, lr=0.2), {}),
        (
            {"optimizer": {"kind": "sgd", "rate": 0.1, "momentum": 0.9}, "reduction": "sum", "scale": "inverse"},
            lambda p, period: torch.optim.SGD(p, lr=0.1 / period, momentum=0.9),
            {"reduction": "sum"},
        ),
        (
            {"optimizer": {"kind": "sgd", "rate": 0.2}, "optimizers": {"2": {"kind": "adamw", "rate": 0.01}}, "scale": "root"},
            lambda p, period: torch.optim.AdamW(p, lr=0.01 * 2**0.5) if period == 2 else torch.optim.SGD(p, lr=0.2 * period**0.5),
            {},
        ),
        ({"optimizer": {"kind": "sgd", "rate": 0.2}, "restart": "reptile"}, lambda p, _: torch.optim.SGD(p, lr=0.2), {}),
    ],
    ids=["sgd", "momentum-sum", "an-optimizer-a-level", "reptile"],
)
def test_levels_move_as_the_level_optimizer_moves_a_module(
    memory: str, table: dict[str, Any], make: Any, plan: dict[str, Any]
) -> None:
    """All seeds at once, against one module a seed, whose levels `nested.level_optimizer` steps by torch's optimizers."""
    made = learner(network={"memory": memory}, **table)
    plain = [Plain(made, seed) for seed in range(S)]
    restart = table.get("restart", "fomaml")
    steppers = [LevelOptimizer(module, make, restart=restart, **plan) for module in plain]
    for step in range(9):
        shown = batch(step)
        losses = made.observe(shown)
        for seed, (module, stepper) in enumerate(zip(plain, steppers, strict=True)):
            loss = F.cross_entropy(module(shown.inputs[seed]), shown.labels[seed])
            assert losses[seed].item() == pytest.approx(loss.item(), abs=1e-5)
            stepper.zero_grad()
            loss.backward()
            stepper.step()
    for seed, module in enumerate(plain):
        for name, value in module.named_parameters():
            own = made.parameters[name.removeprefix("reader.")][seed]
            torch.testing.assert_close(own, value, atol=2e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_with_periods_of_one_it_is_plain_fine_tuning() -> None:
    made = learner(network={"periods": [1]}, optimizer={"kind": "sgd", "rate": 0.2})
    naive = Naive(made._config, made._problem)  # type: ignore[arg-type]
    for step in range(5):
        assert torch.equal(made.observe(batch(step)), naive.observe(batch(step)))
    assert all(torch.equal(value, naive.parameters[name]) for name, value in made.parameters.items())


def test_a_parameter_changes_exactly_at_its_period_and_levels_count_their_updates() -> None:
    made = learner()
    for step in range(1, 10):
        before = {name: value.detach().clone() for name, value in made.parameters.items()}
        made.observe(batch(step))
        for name, value in made.parameters.items():
            assert torch.equal(value, before[name]) is (step % made.network.periods.get(name, 1) != 0), (name, step)
    assert {name: value.tolist() for name, value in made.diagnostics().items()} == {
        "level.1.updates": [9.0] * S,
        "level.2.updates": [4.0] * S,
        "level.4.updates": [2.0] * S,
    }


def test_a_seed_alone_learns_what_it_learns_beside_another() -> None:
    both, alone = learner(network={"memory": "nested"}), learner((1,), network={"memory": "nested"})
    for step in range(6):
        torch.testing.assert_close(both.observe(batch(step))[1], alone.observe(batch(step, (1,)))[0])
    torch.testing.assert_close(both.predict(batch(9).inputs, None)[1], alone.predict(batch(9, (1,)).inputs, None)[0])


def test_what_is_gathered_survives_a_resume_in_the_middle_of_a_period() -> None:
    one, other = (learner(network={"memory": "nested"}) for _ in range(2))
    for step in range(3):
        one.observe(batch(step))
    other.load_state_dict({name: value.clone() for name, value in one.state_dict().items()})
    for step in range(3, 9):
        assert torch.equal(one.observe(batch(step)), other.observe(batch(step)))


def test_periods_that_never_fire_and_optimizers_of_no_period_are_refused() -> None:
    learner(steps=4)
    with pytest.raises(NlbenchError, match=r"\[4\] never fire in 3 steps"):
        learner(steps=3)
    with pytest.raises(ValidationError, match="named by period"):
        learner(optimizers={"slow": {"kind": "sgd"}})
