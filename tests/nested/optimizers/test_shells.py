"""The optimizers descend, resume bit for bit and keep replicas apart; the same checks reject the faulty ones."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from float64 import close, draw
from torch import Tensor, nn

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.nested import optimizers as opt

Make = Callable[..., torch.optim.Optimizer]


EXACT = {"ns_dtype": None}  # products in the parameters' own precision


OPTIMIZERS: dict[str, tuple[type[opt.RuleOptimizer], float, dict[str, Any]]] = {
    "Momentum": (opt.Momentum, 1e-2, {}),
    "PreconditionedMomentum": (opt.PreconditionedMomentum, 1e-3, {}),
    "DeltaMomentum": (opt.DeltaMomentum, 1e-2, {}),
    "FeatureMomentum": (opt.FeatureMomentum, 1e-3, {}),
    "DMGD": (opt.DMGD, 1e-1, {}),
    "AdamW": (opt.AdamW, 1e-2, {}),
    "Shampoo": (opt.Shampoo, 5e-2, {"refresh": 4}),
    "Muon": (opt.Muon, 5e-2, EXACT),
    "M3": (opt.M3, 1e-1, {**EXACT, "period": 4}),
    "M3 literal": (opt.M3, 1e-3, {**EXACT, "period": 4, "literal": True}),
}


class Quadratic(nn.Module):
    """½ Σ‖(W - T) A‖² + ½‖b - t‖² per replica: convex, with a matrix and a vector."""

    def __init__(self, *lead: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(draw(*lead, 6, 9, seed=1))
        self.bias = nn.Parameter(draw(*lead, 6, seed=2))
        self.curvature = draw(*lead, 9, 9, seed=3) / 3

    def forward(self) -> Tensor:
        return 0.5 * (((self.weight - 1) @ self.curvature).square().sum() + (self.bias - 1).square().sum())


def make(name: str, model: nn.Module, **settings: Any) -> opt.RuleOptimizer:
    kind, lr, defaults = OPTIMIZERS[name]
    return kind(model.parameters(), lr, **{**defaults, **settings})


def losses(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model()
        loss.backward()
        seen.append(float(loss.detach()))
        optimizer.step()
    return [*seen, float(model().detach())]


class Ascent(torch.optim.Optimizer):
    """Seed system 1's GGD and GM: the step follows the gradient upwards."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 1e-2})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p in self.param_groups[0]["params"]:
            p.add_(p.grad, alpha=self.param_groups[0]["lr"])


def one_step_decreases(optimizer_of: Make) -> bool:
    model = Quadratic()
    before, after = losses(model, optimizer_of(model), 1)
    return after < before


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_step_on_a_convex_quadratic_decreases_the_loss(name: str) -> None:
    assert one_step_decreases(lambda model: make(name, model))


def test_the_check_of_one_step_rejects_ascent() -> None:
    assert not one_step_decreases(lambda model: Ascent(model.parameters()))


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "M3 literal"])
def test_many_steps_on_a_convex_quadratic_converge(name: str) -> None:
    model = Quadratic()
    seen = losses(model, make(name, model), 150)
    assert min(seen) < 0.3 * seen[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_of_zero_neither_move_nor_break_what_follows(name: str) -> None:
    """As behind a layer that starts at zero, in float32, where squares of next to nothing underflow."""
    kind, lr, settings = OPTIMIZERS[name]
    weight = nn.Parameter(torch.ones(64, 48))
    optimizer = kind([weight], lr, **settings)
    for size, moves in ((0.0, False), (0.0, False), (1e-25, None), (1.0, True)):
        before = weight.detach().clone()
        weight.grad = size * draw(64, 48).float()
        optimizer.step()
        assert bool(weight.isfinite().all())
        assert moves is None or torch.equal(weight, before) is not moves


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_that_are_written_in_place_do_not_reach_into_the_state(name: str) -> None:
    """`zero_grad(set_to_none=False)` zeroes, and the next backward pass fills, the very tensor that the last step saw."""

    def trained(set_to_none: bool) -> Tensor:
        model = Quadratic()
        optimizer = make(name, model)
        for _ in range(10):
            optimizer.zero_grad(set_to_none=set_to_none)
            model().backward()
            optimizer.step()
        return model.weight.detach()

    assert torch.equal(trained(True), trained(False))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_replicas_train_as_if_alone(name: str) -> None:
    many = Quadratic(3)
    losses(many, make(name, many, replica_axes=1, weight_decay=0.1), 10)
    alone = Quadratic()
    whole = Quadratic(3)
    for parameter, source in ((alone.weight, whole.weight), (alone.bias, whole.bias)):
        parameter.data.copy_(source.data[1])
    alone.curvature = whole.curvature[1]
    losses(alone, make(name, alone, weight_decay=0.1), 10)
    assert close(many.weight[1], alone.weight, 1e-9)
    assert close(many.bias[1], alone.bias, 1e-9)


def resumes_exactly(optimizer_of: Make) -> bool:
    """Whether 7 steps, a save to bytes, a load into fresh objects and 7 more steps equal 14 steps bit for bit."""
    whole = Quadratic()
    losses(whole, optimizer_of(whole), 14)
    first = Quadratic()
    optimizer = optimizer_of(first)
    losses(first, optimizer, 7)
    file = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = Quadratic()
    second.load_state_dict(saved["model"])
    resumed = optimizer_of(second)
    resumed.load_state_dict(saved["optimizer"])
    losses(second, resumed, 7)
    return torch.equal(whole.weight, second.weight) and torch.equal(whole.bias, second.bias)


class KeyedById(opt.Momentum):
    """Seed system 1: state keyed by id(parameter), which no other process, and no fresh parameter, shares."""

    def state_dict(self) -> dict[str, Any]:
        return {"state": {id(p): dict(s) for p, s in self.state.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if id(p) in state_dict["state"]:
                    self.state[p] = state_dict["state"][id(p)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_saves_loads_and_resumes_bit_exactly(name: str) -> None:
    assert resumes_exactly(lambda model: make(name, model, weight_decay=0.01))


def test_the_check_of_resuming_rejects_state_keyed_by_id() -> None:
    assert resumes_exactly(lambda model: opt.Momentum(model.parameters(), 1e-2))
    assert not resumes_exactly(lambda model: KeyedById(model.parameters(), 1e-2))


def test_convolutions_vectors_and_scalars_are_seen_as_matrices() -> None:
    kernel, bias, scalar = nn.Parameter(draw(4, 3, 2, 2)), nn.Parameter(draw(4)), nn.Parameter(torch.tensor(1.0))
    for name in OPTIMIZERS:
        kind, lr, settings = OPTIMIZERS[name]
        optimizer = kind([kernel, bias, scalar], lr, **settings)
        before = [p.detach().clone() for p in (kernel, bias, scalar)]
        for p in (kernel, bias, scalar):
            p.grad = torch.ones_like(p)
        optimizer.step()
        for p, old in zip((kernel, bias, scalar), before, strict=True):
            assert p.shape == old.shape
            assert bool((p < old).all())


def test_groups_override_settings_and_closures_run() -> None:
    first, second = nn.Parameter(draw(3, 4)), nn.Parameter(draw(3, 4))
    optimizer = opt.Momentum([{"params": [first]}, {"params": [second], "lr": 0.0}], 0.1, decay=0.5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = first.square().sum() + second.square().sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) > 0
    assert not torch.equal(first, second)
    assert close(second, draw(3, 4), 0.0)


def test_parameters_without_a_gradient_stay() -> None:
    model = Quadratic()
    optimizer = make("DMGD", model)
    optimizer.step()
    assert close(model.weight, draw(6, 9, seed=1), 0.0)
    assert not optimizer.state_dict()["state"]


@pytest.mark.parametrize("kind", [opt.Muon, opt.Momentum])
def test_settings_that_do_not_exist_or_climb_are_refused(kind: type[opt.RuleOptimizer]) -> None:
    with pytest.raises(UnknownNameError, match="momentun"):
        kind([nn.Parameter(draw(3, 4))], momentun=0.9)
    with pytest.raises(NlbenchError, match="must be >= 0"):
        kind([nn.Parameter(draw(3, 4))], lr=-0.1)
