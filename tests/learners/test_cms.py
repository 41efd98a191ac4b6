from __future__ import annotations

import pytest
import torch
from small_streams import CPU
from torch import Tensor, nn
from torch.nn import functional as F

from nlbench import Batch, NlbenchError, Problem
from nlbench.learners.cms import Cms
from nlbench.learners.config import CmsConfig
from nlbench.nested.continuum import block
from nlbench.nested.continuum_update import LevelState, Plan, continuum_update
from nlbench.nested.layers import Tree, linear

S, B, D, C = 2, 5, 6, 4


def learner(
    *,
    periods: tuple[int, ...] = (1, 3, 7),
    steps: int = 100,
    seeds: tuple[int, ...] = (0, 1),
    backend: str = "auto",
    **config: object,
) -> Cms:
    declared = CmsConfig.model_validate({"kind": "cms", "hidden": 6, "periods": list(periods), "width": 8, **config})
    return Cms(declared, Problem((D,), C, seeds, "class-il", CPU, backend, steps))


def batch(step: int) -> Batch:
    draw = torch.Generator().manual_seed(step)
    classes = torch.tensor([True, True, True, False])
    return Batch(torch.randn(S, B, D, generator=draw), torch.randint(3, (S, B), generator=draw), classes, None)


def in_float64(made: Cms) -> Cms:
    made.load_state_dict(
        {name: value.double() if value.is_floating_point() else value for name, value in made.state_dict().items()}
    )
    return made


def parameters(made: Cms) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in made.state_dict().items() if ".parameters." in name}


def reference(state: dict[str, Tensor], periods: tuple[int, ...], x: Tensor) -> Tensor:
    """Return the logits (B, C) of one seed, written out: embedding if any, residual blocks from slow to fast, read-out."""
    slow_first = sorted(periods, reverse=True)

    def of(period: int, name: str) -> Tensor:
        return state[f"{period}.parameters.{name}"]

    embedded = f"{slow_first[0]}.parameters.embedding.weight" in state
    h = x @ of(slow_first[0], "embedding.weight").T + of(slow_first[0], "embedding.bias") if embedded else x
    for period in slow_first:
        normed = F.layer_norm(h, h.shape[-1:], of(period, "norm.weight"), of(period, "norm.bias"))
        inner = F.gelu(normed @ of(period, "up.weight").T + of(period, "up.bias"))
        h = h + inner @ of(period, "down.weight").T + of(period, "down.bias")
    return h @ of(slow_first[-1], "readout.weight").T + of(slow_first[-1], "readout.bias")


@pytest.mark.parametrize(("reduction", "width"), [("mean", 8), ("sum", 8), ("mean", None)])
def test_a_level_moves_once_a_period_against_the_autograd_gradients_of_its_period(reduction: str, width: int | None) -> None:
    periods = (1, 3, 7)
    made = in_float64(learner(periods=periods, rate=0.2, reduction=reduction, width=width))
    expected = [{name: value[index] for name, value in parameters(made).items()} for index in range(S)]
    gathered: list[dict[str, Tensor]] = [{name: torch.zeros_like(value) for name, value in each.items()} for each in expected]
    for step in range(1, 16):
        shown = batch(step)
        shown = Batch(shown.inputs.double(), shown.labels, shown.classes, None)
        loss = made.observe(shown)
        for index in range(S):
            leaves = {name: value.detach().requires_grad_() for name, value in expected[index].items()}
            logits = reference(leaves, periods, shown.inputs[index]).masked_fill(~shown.classes, -torch.inf)
            truth = F.cross_entropy(logits, shown.labels[index])
            assert loss[index].item() == pytest.approx(truth.item(), abs=1e-12)
            for name, gradient in zip(leaves, torch.autograd.grad(truth, list(leaves.values())), strict=True):
                gathered[index][name] += gradient
            for name in leaves:
                period = int(name.partition(".")[0])
                if step % period == 0:
                    share = period if reduction == "mean" else 1
                    expected[index][name] = expected[index][name] - 0.2 * gathered[index][name] / share
                    gathered[index][name] = torch.zeros_like(expected[index][name])
        for name, value in parameters(made).items():
            truth_now = torch.stack([each[name] for each in expected])
            assert torch.allclose(value, truth_now, atol=1e-11), (step, name)


class Mlp(nn.Module):
    """A residual MLP as anybody would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down, self.readout = nn.LayerNorm(D), nn.Linear(D, 6), nn.Linear(6, D), nn.Linear(D, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(x + self.down(F.gelu(self.up(self.norm(x)))))


@pytest.mark.parametrize("variant", ["sequential", "headwise", "nested"])
def test_one_level_of_period_1_is_plain_fine_tuning_of_an_mlp(variant: str) -> None:
    made = in_float64(learner(periods=(1,), width=None, rate=0.2, variant=variant))
    plain = [Mlp().double() for _ in range(S)]
    for seed, network in enumerate(plain):
        held = {name.removeprefix("1.parameters."): value[seed] for name, value in parameters(made).items()}
        network.load_state_dict({name: value for name, value in held.items() if name != "mix"})
    optimizers = [torch.optim.SGD(network.parameters(), lr=0.2) for network in plain]
    test = torch.randn(S, 9, D, dtype=torch.float64)
    for step in range(20):
        shown = batch(step)
        made.observe(Batch(shown.inputs.double(), shown.labels, shown.classes, None))
        if variant == "headwise":  # its mix of one is a parameter more
            made._trees[0]["mix"].fill_(1.0)
        for seed, (network, optimizer) in enumerate(zip(plain, optimizers, strict=True)):
            logits = network(shown.inputs[seed].double()).masked_fill(~shown.classes, -torch.inf)
            optimizer.zero_grad()
            F.cross_entropy(logits, shown.labels[seed]).backward()
            optimizer.step()
    expected = torch.stack([network(own) for network, own in zip(plain, test, strict=True)])
    torch.testing.assert_close(made.predict(test, None), expected, atol=1e-11, rtol=1e-9)


def test_the_first_readings_are_even() -> None:
    assert not learner().predict(batch(0).inputs, None).any()


def test_a_level_changes_exactly_at_multiples_of_its_period_and_counts_its_updates() -> None:
    made, periods = learner(), (1, 3, 7)
    for step in range(1, 23):
        before = parameters(made)
        made.observe(batch(step))
        changed = {
            int(name.partition(".")[0]) for name, value in parameters(made).items() if not torch.equal(value, before[name])
        }
        assert changed == {period for period in periods if step % period == 0}
        found = {name: value.tolist() for name, value in made.diagnostics().items()}
        assert found == {f"level.{period}.updates": [float(step // period)] * S for period in periods}


def test_a_period_that_never_fires_is_an_error() -> None:
    learner(periods=(1, 20), steps=20)
    with pytest.raises(NlbenchError, match=r"periods: \[20\] never fire in 19 steps"):
        learner(periods=(1, 20), steps=19)


def by_definition(made: Cms, periods: tuple[int, ...], variant: str, steps: int) -> dict[str, Tensor]:
    """Return the parameters after some steps of the general update of a continuum memory, `continuum_update`."""
    slow_first, state = tuple(sorted(periods, reverse=True)), made.state_dict()
    nested = variant == "nested"
    plan = Plan(slow_first, restart="fomaml" if nested else "none", seed_axis=True)

    def of(period: int, kind: str) -> Tree:
        start = f"{period}.{kind}."
        return {name.removeprefix(start): value.clone() for name, value in state.items() if name.startswith(start)}

    def descend(tree: Tree, gradient: Tree, rule: None) -> tuple[Tree, None]:
        return {name: value - 0.2 * gradient[name] for name, value in tree.items()}, rule

    levels = tuple(LevelState(of(period, "parameters"), of(period, "initial")) for period in slow_first)
    for step in range(1, steps + 1):
        shown = batch(step)
        leaves = [{name: value.detach().requires_grad_() for name, value in level.parameters.items()} for level in levels]
        x = linear(shown.inputs.double(), leaves[0]["embedding.weight"], leaves[0]["embedding.bias"])
        if variant == "headwise":
            x = sum(leaves[0]["mix"][:, i, None, None] * block(tree, x) for i, tree in enumerate(leaves))  # type: ignore[assignment]
        else:
            for tree in leaves:
                x = block(tree, x)
        logits = linear(x, leaves[-1]["readout.weight"], leaves[-1]["readout.bias"]).masked_fill(~shown.classes, -torch.inf)
        loss = sum(F.cross_entropy(each, own) for each, own in zip(logits, shown.labels, strict=True))
        found = iter(torch.autograd.grad(loss, [value for tree in leaves for value in tree.values()]))  # type: ignore[arg-type]
        gradients = [{name: next(found) for name in tree} for tree in leaves]
        levels = continuum_update(levels, gradients, [descend] * len(levels), plan, step)
    return {
        f"{period}.parameters.{name}": value
        for period, level in zip(slow_first, levels, strict=True)
        for name, value in level.parameters.items()
    }


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("variant", ["sequential", "nested", "headwise"])
def test_steps_are_those_of_the_general_update(variant: str, backend: str) -> None:
    periods, steps = (2, 4, 8), 17
    made = in_float64(learner(periods=periods, rate=0.2, variant=variant, backend=backend))
    expected = by_definition(made, periods, variant, steps)
    for step in range(1, steps + 1):
        shown = batch(step)
        made.observe(Batch(shown.inputs.double(), shown.labels, shown.classes, None))
    found = parameters(made)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.allclose(value, expected[name], atol=1e-11), name


def test_the_record_can_say_which_kernels_trained() -> None:
    assert [learner(backend=backend).backend for backend in ("auto", "reference")] == ["numba", "reference"]


def test_the_number_of_threads_changes_no_bit() -> None:
    before, found = torch.get_num_threads(), []
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(1, 100, 300, generator=draw), torch.randint(C, (1, 100), generator=draw)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        config = CmsConfig(kind="cms", width=96, hidden=192, periods=(1, 2))
        made = Cms(config, Problem((300,), C, (0,), "class-il", CPU, "auto", 10))
        for _ in range(3):
            made.observe(Batch(x, y, torch.ones(C, dtype=torch.bool), None))
        found.append(made.state_dict())
    torch.set_num_threads(before)
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


@pytest.mark.parametrize("pause", [1, 2, 3, 6, 7, 8])
def test_a_state_taken_mid_chunk_continues_bit_exactly(pause: int) -> None:
    uninterrupted, first, second = learner(), learner(), learner()
    losses = [uninterrupted.observe(batch(step)) for step in range(1, 16)]
    for step in range(1, pause + 1):
        first.observe(batch(step))
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    for step in range(pause + 1, 16):
        assert torch.equal(second.observe(batch(step)), losses[step - 1])
    expected = uninterrupted.state_dict()
    assert second.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in second.state_dict().items())


@pytest.mark.parametrize("steps", [0, 4, 7])
def test_permuting_inputs_permutes_the_embedding_and_what_is_pending_there_and_back_bit_exactly(steps: int) -> None:
    made = in_float64(learner())
    for step in range(1, steps + 1):
        shown = batch(step)
        made.observe(Batch(shown.inputs.double(), shown.labels, shown.classes, None))
    before = {name: value.clone() for name, value in made.state_dict().items()}
    order = torch.stack([torch.randperm(D, generator=torch.Generator().manual_seed(seed)) for seed in range(S)])
    x = batch(99).inputs.double()
    expected = made.predict(x, None)
    made.permute_inputs(order)
    permuted = torch.stack([each[:, own] for each, own in zip(x, order, strict=True)])
    assert torch.allclose(made.predict(permuted, None), expected, atol=1e-12)
    pending = "7.accumulated.embedding.weight"
    if steps % 7:
        assert torch.equal(made.state_dict()[pending], before[pending].gather(2, order[:, None].expand_as(before[pending])))
    made.permute_inputs(order.argsort(1))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_a_seed_starts_the_same_alone_as_among_others() -> None:
    among, alone = parameters(learner(seeds=(3, 5))), parameters(learner(seeds=(5,)))
    assert all(torch.equal(value[1], alone[name][0]) for name, value in among.items())
    differing = [name for name, value in among.items() if not torch.equal(value[0], value[1])]
    assert len(differing) == 2 * 3 + 2  # up and down of every level, embedding; norms, biases and the read-out are constant


def test_bytes_are_parameters_and_one_accumulator_for_each_level_that_waits() -> None:
    made = learner()
    per_level: dict[int, int] = {}
    for name, value in parameters(made).items():
        period = int(name.partition(".")[0])
        per_level[period] = per_level.get(period, 0) + value[0].nbytes
    assert made.memory_bytes() == {"parameters": sum(per_level.values()), "optimizer": per_level[3] + per_level[7]}
    assert learner(seeds=(0,)).memory_bytes() == made.memory_bytes()


def test_predicting_changes_nothing() -> None:
    made = learner()
    made.observe(batch(1))
    before = {name: value.clone() for name, value in made.state_dict().items()}
    x = batch(2).inputs[:1]
    assert torch.equal(made.predict(x, None), made.predict(x, None))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
