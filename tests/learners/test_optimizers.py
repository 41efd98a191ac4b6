from __future__ import annotations

import inspect
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from nlbench.learners.optimizer_config import ExpressiveConfig, OptimizerConfig, SgdConfig
from nlbench.learners.optimizers import EXPRESSIVE, Expressive, Slots, build
from nlbench.nested.optimizers import DeltaMomentum, RuleOptimizer
from nlbench.networks.network import Tree

CONFIGS = get_args(OptimizerConfig)
KINDS = [get_args(each.model_fields["kind"].annotation)[0] for each in CONFIGS]
S = 3


def config(kind: str, **options: Any) -> Any:
    return CONFIGS[KINDS.index(kind)].model_validate({"kind": kind, **options})


def start(seeds: int = S) -> Tree:
    draw = torch.Generator().manual_seed(0)
    shapes = {"a.weight": (4, 5), "a.bias": (4,), "c.weight": (4, 2, 3, 3)}
    return {name: torch.randn(S, *shape, generator=draw, dtype=torch.float64)[:seeds] for name, shape in shapes.items()}


def gradients(step: int, seeds: int = S) -> Tree:
    draw = torch.Generator().manual_seed(100 + step)
    return {name: torch.randn(S, *v.shape[1:], generator=draw, dtype=torch.float64)[:seeds] for name, v in start().items()}


def stepped(kind: str, steps: int = 5, seeds: int = S, **options: Any) -> tuple[Tree, Slots]:
    declared = config(kind, **options)
    rule, parameters = build(declared), start(seeds)
    slots = rule.initial(parameters)
    for step in range(steps):
        rule.step(parameters, gradients(step, seeds), slots, declared.rate)
    return parameters, slots


def torchs(kind: type[torch.optim.Optimizer], **options: Any) -> list[Tensor]:
    """Return what an optimizer makes of seed 1's tensors."""
    own = [value[1].clone().requires_grad_() for value in start().values()]
    optimizer = kind(own, **options)
    for step in range(5):
        for value, gradient in zip(own, gradients(step).values(), strict=True):
            value.grad = gradient[1]
        optimizer.step()
    return own


@pytest.mark.parametrize(
    ("kind", "options", "twin", "its"),
    [
        ("sgd", {"rate": 0.3}, torch.optim.SGD, {"lr": 0.3}),
        (
            "sgd",
            {"rate": 0.3, "momentum": 0.9, "weight_decay": 0.1},
            torch.optim.SGD,
            {"lr": 0.3, "momentum": 0.9, "weight_decay": 0.1},
        ),
        ("sgd", {"momentum": 0.5, "nesterov": True}, torch.optim.SGD, {"lr": 0.1, "momentum": 0.5, "nesterov": True}),
        ("adam", {"weight_decay": 0.1}, torch.optim.Adam, {"lr": 1e-3, "weight_decay": 0.1}),
        ("adamw", {"rate": 0.01, "betas": [0.8, 0.9]}, torch.optim.AdamW, {"lr": 0.01, "betas": (0.8, 0.9)}),
        *[(kind, {"weight_decay": 0.01}, shell, {"lr": None, "weight_decay": 0.01}) for kind, shell in EXPRESSIVE.items()],
    ],
)
def test_each_seed_moves_as_by_the_optimizer_of_one(kind: str, options: dict, twin: type, its: dict) -> None:
    """Those of `nested` are compared with their own shells, which know one seed here."""
    if issubclass(twin, RuleOptimizer):
        its = {**its, "lr": config(kind).rate}
    moved, _ = stepped(kind, **options)
    for value, expected in zip(moved.values(), torchs(twin, **its), strict=True):
        torch.testing.assert_close(value[1], expected.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_how_numbers_lie_in_memory_is_nothing_to_a_step(kind: str) -> None:
    """Gradients across, of one number for all, every second of a longer row; parameters across."""
    draw = torch.Generator().manual_seed(5)
    across, longer, one = (torch.randn(S, *shape, generator=draw, dtype=torch.float64) for shape in ((5, 4), (4, 10), (1, 1)))
    for gradient in (across.mT, longer[..., ::2], one.expand(S, 4, 5)):
        found = []
        for turned in (False, True):
            rule, own = build(config(kind)), start()
            parameters = {"a.weight": own["a.weight"].mT.contiguous().mT if turned else own["a.weight"]}
            slots = rule.initial(parameters)
            for _ in range(3):
                rule.step(parameters, {"a.weight": gradient if turned else gradient.contiguous()}, slots, 0.1)
                rule.step(parameters, {"a.weight": gradient.contiguous() if turned else gradient}, slots, 0.1)
            found.append(parameters["a.weight"])
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_do_not_mix_and_slots_have_them_first(kind: str) -> None:
    (many, slots), (one, _) = stepped(kind), stepped(kind, seeds=1)
    for name, value in one.items():
        torch.testing.assert_close(value[0], many[name][0], rtol=1e-9, atol=1e-12)
        assert not torch.equal(many[name], start()[name])
    for tree in slots.values():
        assert all(len(value) == S for value in tree.values() if value.ndim)


@pytest.mark.parametrize("kind", KINDS)
def test_slots_move_in_place_share_no_memory_and_what_has_no_gradient_stays(kind: str) -> None:
    rule, parameters = build(config(kind)), start()
    slots = rule.initial(parameters)
    places = {(kind, name): value.data_ptr() for kind, tree in slots.items() for name, value in tree.items()}
    assert len(set(places.values())) == len(places)
    before = {(kind, name): value.clone() for kind, tree in slots.items() for name, value in tree.items()}
    for step in range(2):
        rule.step(parameters, {"a.weight": gradients(step)["a.weight"]}, slots, 0.1)
    for kind_, tree in slots.items():
        for name, value in tree.items():
            assert value.data_ptr() == places[kind_, name]
            assert name == "a.weight" or torch.equal(value, before[kind_, name])
    assert torch.equal(parameters["a.bias"], start()["a.bias"])
    if slots:
        assert any(not torch.equal(tree["a.weight"], before[kind_, "a.weight"]) for kind_, tree in slots.items())


@pytest.mark.parametrize("kind", EXPRESSIVE)
def test_settings_are_those_of_the_rule_with_its_defaults(kind: str) -> None:
    declared, shell = config(kind), EXPRESSIVE[kind]
    known = shell.known_settings()
    assert isinstance(declared, ExpressiveConfig)
    for name, value in declared.settings().items():
        assert known[name] == value
    assert declared.rate == shell.default_lr
    if shell.vectors_use_adam:
        assert declared.rate_of_vectors == inspect.signature(shell.__init__).parameters["vector_lr"].default


def test_a_setting_reaches_its_rule() -> None:
    moved, _ = stepped("delta-momentum", contraction=0.3)
    for value, expected in zip(moved.values(), torchs(DeltaMomentum, lr=0.1, contraction=0.3), strict=True):
        torch.testing.assert_close(value[1], expected.detach(), rtol=1e-9, atol=1e-12)


def test_rules_that_count_on_the_host_are_not_captured() -> None:
    captured = {kind for kind in KINDS if build(config(kind)).captured}
    assert captured == {"sgd", "adam", "adamw", "momentum", "delta-momentum", "feature-momentum", "dmgd"}
    assert isinstance(build(config("m3")), Expressive)


@pytest.mark.parametrize(
    "table", [{"kind": "sgd", "nesterov": True}, {"kind": "sgd", "rate": 0.0}, {"kind": "muon", "decay": 0.5}]
)
def test_what_a_table_may_not_say(table: dict) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(OptimizerConfig).validate_python(table)


def test_the_default_is_plain_sgd() -> None:
    assert SgdConfig() == config("sgd")
