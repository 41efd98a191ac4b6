from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from small_streams import CPU
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from nlbench import Batch, NlbenchError, Problem
from nlbench.learners.gradient_config import GabalRates, LevelsConfig
from nlbench.learners.levels import Levels
from nlbench.learners.naive import Naive
from nlbench.nested.gabal import Gabal, GabalConfig
from nlbench.nested.layers import Draws, Linear
from nlbench.nested.level_optimizer import LevelOptimizer
from nlbench.nested.surprise import SurpriseObjective
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
    assert_alike(made, plain)


@pytest.mark.parametrize("order", [1, 2])
def test_levels_learn_from_surprise_as_a_module_does(order: int) -> None:
    made = learner(surprise={"order": order, "weight": 0.05}, optimizer={"kind": "sgd", "rate": 0.2})
    without = learner(optimizer={"kind": "sgd", "rate": 0.2})
    plain = [Plain(made, seed) for seed in range(S)]
    objectives = [SurpriseObjective(module, order=order, weight=0.05) for module in plain]  # type: ignore[arg-type]
    steppers = [LevelOptimizer(module, lambda p, _: torch.optim.SGD(p, lr=0.2)) for module in plain]
    for step in range(9):
        shown = batch(step)
        made.observe(shown)
        without.observe(shown)
        for seed, (module, objective, stepper) in enumerate(zip(plain, objectives, steppers, strict=True)):
            stepper.zero_grad()
            with sdpa_kernel(SDPBackend.MATH):
                objective(F.cross_entropy(module(shown.inputs[seed]), shown.labels[seed])).backward()
            stepper.step()
    assert_alike(made, plain)
    assert not torch.allclose(made.parameters["embed.weight"], without.parameters["embed.weight"], atol=1e-3)


@pytest.mark.parametrize("memory", ["sequential", "nested"])
def test_levels_make_their_rates_as_controllers_of_a_module_do(memory: str) -> None:
    rates = {"base_rate": 0.2, "min_retain": 0.9, "meta_rate": 0.5}
    made = learner(network={"memory": memory}, gabal=rates, restart="reptile" if memory == "nested" else "fomaml")
    plain = [Plain(made, seed) for seed in range(S)]
    levels = {p: [name for name in made.parameters if made.network.periods.get(name, 1) == p] for p in made.periods}
    controllers = []
    for module in plain:
        own = {name.removeprefix("reader."): value for name, value in module.named_parameters()}
        starts = {
            p: [made.initial[n][len(controllers)].clone() if n in made.initial else 0 * own[n].detach() for n in levels[p]]
            for p in levels
        }
        controllers.append({p: Gabal([own[n] for n in levels[p]], p, GabalConfig(**rates), initial=starts[p]) for p in levels})
    for step in range(2 if memory == "nested" else 9):
        shown = batch(step)
        made.observe(shown)
        for seed, module in enumerate(plain):
            seen = watched(module)
            module.zero_grad()
            F.cross_entropy(module(shown.inputs[seed]), shown.labels[seed]).backward()
            for period, controller in controllers[seed].items():
                own = [each for name, each in seen.items() if f"{name}.weight" in levels[period]]
                deltas = torch.cat([output.grad.flatten() for _, output in own])
                squares = torch.stack([inputs.flatten(0, -2).square().sum(1).mean() for inputs, _ in own])
                controller.step(deltas.square().mean().sqrt(), squares.amax())
    if memory == "sequential":
        assert_alike(made, plain)
    else:  # level 1 ended level 2's period with it, and went half the way back
        name = "hope.blocks.0.memory.levels.2.up.weight"
        torch.testing.assert_close(made.parameters[name], made.initial[name])


def watched(module: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """What each linear layer reads and gives in the next forward pass, under its name in the network."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def hook(name: str) -> Any:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            output.retain_grad()
            seen[name], _ = (inputs[0].detach(), output), handle[name].remove()

        return keep

    layers = [(name, each) for name, each in module.named_modules() if isinstance(each, Linear | nn.Linear)]
    handle = {
        name.removeprefix("reader."): each.register_forward_hook(hook(name.removeprefix("reader."))) for name, each in layers
    }
    return seen


def assert_alike(made: Levels, plain: list[Plain]) -> None:
    for seed, module in enumerate(plain):
        for name, value in module.named_parameters():
            own = made.parameters[name.removeprefix("reader.")][seed]
            torch.testing.assert_close(own, value, atol=2e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    "table", [{"surprise": {"order": 2}}, {"gabal": {}}, {"gabal": {}, "network": {"memory": "nested"}, "restart": "reptile"}]
)
def test_surprise_and_controllers_go_on_where_they_were_saved(table: dict[str, Any]) -> None:
    whole, first, second = learner(**table), learner(**table), learner(**table)
    for step in range(7):
        whole.observe(batch(step))
        (first if step < 3 else second).observe(batch(step))
        if step == 2:
            second.load_state_dict(first.state_dict())
    assert all(torch.equal(value, second.parameters[name]) for name, value in whole.parameters.items())


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"gabal": {}, "scale": "inverse"}, "no optimizers and no scale"),
        ({"gabal": {"base_rate": 1e-6}}, "above min_rate"),
        ({"surprise": {}, "head": "cosine"}, 'go with "one"'),
    ],
)
def test_tables_that_contradict_each_other_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        learner(**table)


def test_gabal_of_restarting_levels_needs_reptile() -> None:
    with pytest.raises(NlbenchError, match="no rate of their own"):
        learner(network={"memory": "nested"}, gabal={})


def test_the_rates_of_gabal_are_those_of_its_configuration() -> None:
    assert GabalRates().model_dump() == dataclasses.asdict(GabalConfig())


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
