import copy

import pytest
import torch
from torch import nn

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.nested.continuum import Block, ContinuumMemory, block, stack_levels
from nlbench.nested.layers import Draws

VARIANTS = ("sequential", "nested", "headwise")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def memory(variant="sequential", periods=(1, 4, 16), **kwargs) -> ContinuumMemory:
    return ContinuumMemory.of_blocks(8, 24, periods, variant=variant, **kwargs).double()


def test_block_is_its_pure_function_with_norm_and_residual():
    level = Block(8, 16, Draws.of(0)).double()
    x = draw(5, 8)
    assert torch.equal(level(x), block(dict(level.named_parameters()), x))
    with torch.no_grad():
        level.down.weight.zero_()
    assert torch.equal(level(x), x)
    assert (block(dict(memory().levels[0].named_parameters()), 1e4 * x) - 1e4 * x).abs().max() < 10, (
        "the norm bounds what is added"
    )


class BareLevel(nn.Module):
    """Seed system 2: a level is a nonlinear layer without norm and residual, so three in a row lose the input."""

    def __init__(self, dim, seed):
        super().__init__()
        self.up = nn.Parameter(draw(dim, dim, seed=seed) / dim**0.5)

    def forward(self, x):
        return torch.nn.functional.gelu(x @ self.up.T)


@pytest.mark.parametrize(("bare", "right"), [(False, True), (True, False)])
def test_a_chain_hands_its_input_on_and_bounds_what_it_adds(bare, right):
    chain = ContinuumMemory([BareLevel(8, i) for i in range(3)], (16, 4, 1)) if bare else memory()
    x = 1e4 * draw(5, 8)
    assert bool((chain(x) - x).abs().max() < 30) == right


def test_sequential_chain_runs_slow_to_fast_by_default():
    chain = memory()
    assert chain.periods == (16, 4, 1)
    x = draw(5, 8)
    expected = chain.levels[2](chain.levels[1](chain.levels[0](x)))
    assert torch.equal(chain(x), expected)
    assert memory(fast_first=True).periods == (1, 4, 16)


class TwiceTheLevel(nn.Module):
    """Seed system 1: every block of a "nested" memory owns a second one, run and stored at its cost."""

    def __init__(self, level):
        super().__init__()
        self.level, self.second = level, copy.deepcopy(level)

    def forward(self, x):
        return self.level(x) + 0 * self.second(x)


def test_nested_forward_costs_and_computes_what_the_chain_does():
    chain, x = memory(), draw(5, 8)

    def costs_as_much(nested) -> bool:
        assert torch.equal(chain(x), nested(x))
        return sum(p.numel() for p in chain.parameters()) == sum(p.numel() for p in nested.parameters())

    assert costs_as_much(memory("nested"))
    assert not costs_as_much(ContinuumMemory([TwiceTheLevel(level) for level in chain.levels], chain.periods, variant="nested"))


def sliced_heads(heads: ContinuumMemory, x):
    """Faulty: each level sees and makes only its slice of the features."""
    parts = [
        level(x * mask) * mask
        for level, mask in zip(heads.levels, torch.eye(3).double().repeat_interleave(3, 1)[:, :8], strict=True)
    ]
    return torch.stack(parts).sum(0)


def test_headwise_is_the_learned_mix_of_whole_mlps():
    heads = memory("headwise")
    with torch.no_grad():
        heads.mix.copy_(torch.tensor([0.5, -1.0, 2.0]))
    x = draw(5, 8)

    def oracle():
        return sum(a * level(x) for a, level in zip((0.5, -1.0, 2.0), heads.levels, strict=True))

    def uses_every_input_for_every_output(f) -> bool:
        jacobian = torch.autograd.functional.jacobian(lambda z: f(z[None])[0], x[0])
        return bool((jacobian.abs() > 1e-9).all())

    assert (heads(x) - oracle()).abs().max() < 1e-14
    assert uses_every_input_for_every_output(heads)
    assert not uses_every_input_for_every_output(lambda z: sliced_heads(heads, z))
    assert "mix" in heads.level_parameters(0), "the mix belongs to the slowest level"
    heads(x).sum().backward()
    assert heads.mix.grad.abs().min() > 0


def test_softmax_mix_is_a_distribution():
    levels = [Block(8, 8, Draws.of(i)).double() for i in range(3)]
    heads = ContinuumMemory(levels, (1, 2, 4), variant="headwise", softmax=True).double()
    x = draw(4, 8)
    assert (heads(x) - sum(level(x) for level in levels) / 3).abs().max() < 1e-14


def shared_teach_signal(chain: ContinuumMemory, x, loss) -> list:
    """Faulty: every level gets the loss gradient of the chain's output as if it were its own."""
    inputs = [x]
    for level in chain.levels:
        inputs.append(level(inputs[-1]).detach())
    output = inputs[-1].requires_grad_()
    signal = torch.autograd.grad(loss(output), output)[0]
    return [torch.autograd.grad(level(z), level.up.weight, signal)[0] for level, z in zip(chain.levels, inputs, strict=False)]


def identity_reconstruction(chain: ContinuumMemory, x, loss) -> list:
    """Faulty: a block learns to reproduce its own input, whatever the task."""
    gradients = []
    for level in chain.levels:
        gradients.append(torch.autograd.grad((level(x) - x).square().mean(), level.up.weight)[0])
        x = level(x).detach()
    return gradients


def chain_rule(chain: ContinuumMemory, x, loss) -> list:
    return list(torch.autograd.grad(loss(chain(x)), [level.up.weight for level in chain.levels]))


@pytest.mark.parametrize(("rule", "right"), [(chain_rule, True), (shared_teach_signal, False), (identity_reconstruction, False)])
def test_gradient_of_every_level_is_the_true_one_through_the_later_levels(rule, right):
    chain, x, target = memory(), draw(5, 8), draw(5, 8, seed=1)

    def loss(y):
        return (y - target).square().sum()

    correct, step = [], 1e-6
    for level, gradient in zip(chain.levels, rule(chain, x, loss), strict=True):
        direction = draw(*level.up.weight.shape, seed=3)
        with torch.no_grad():
            level.up.weight += step * direction
            above = loss(chain(x))
            level.up.weight -= 2 * step * direction
            below = loss(chain(x))
            level.up.weight += step * direction
        numeric = (above - below) / (2 * step)
        correct.append(bool(abs((gradient * direction).sum() - numeric) < 1e-5 * abs(numeric) + 1e-7))
    assert all(correct) == right


def gated_by_a_call_counter(chain: ContinuumMemory):
    """Faulty: a level takes part in the forward pass only when a counter of calls says so, at test time too."""
    calls = 0

    def forward(x):
        nonlocal calls
        calls += 1
        for level, period in zip(chain.levels, chain.periods, strict=True):
            x = level(x) if calls % period == 0 else x
        return x

    return forward


@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluation_is_pure(variant):
    chain, x = memory(variant).eval(), draw(5, 8)
    before = {name: value.clone() for name, value in chain.state_dict().items()}

    def is_pure(f) -> bool:
        turned = (f(x.flip(0)).flip(0) - f(x)).abs().max()  # products round by where a row stands
        return all(torch.equal(f(x), first) for first in [f(x)] for _ in range(5)) and bool(turned < 1e-13)

    assert is_pure(chain)
    assert not is_pure(gated_by_a_call_counter(chain))
    assert all(torch.equal(value, before[name]) for name, value in chain.state_dict().items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_replicas_are_the_ordinary_modules_of_their_seeds(variant):
    many = memory(variant, seeds=(3, 5))
    x = draw(2, 4, 7, 8)
    for replica, seed in enumerate((3, 5)):
        one = memory(variant, seeds=seed)
        assert (many(x)[replica] - one(x[replica])).abs().max() < 1e-13
    assert not torch.equal(many.levels[0].up.weight[0], many.levels[0].up.weight[1])


def test_hidden_units_are_shared_between_levels():
    assert [level.up.weight.shape[0] for level in memory().levels] == [8, 8, 8]
    with pytest.raises(NlbenchError, match="at least one unit"):
        ContinuumMemory.of_blocks(8, 2, (1, 4, 16))


def pretrained() -> nn.Sequential:
    layers = [nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 12), nn.GELU(), nn.Linear(12, 8)]
    mlp = nn.Sequential(*layers).double()
    with torch.no_grad():
        for index, parameter in enumerate(mlp.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=index) / 3)
    return mlp


@pytest.mark.parametrize("variant", ["sequential", "nested"])
@pytest.mark.parametrize("periods", [(16,), (16, 1), (16, 4, 1), (64, 16, 4, 1)])
def test_stacking_a_trained_mlp_reproduces_it_exactly(periods, variant):
    mlp, x = pretrained(), draw(5, 8)
    stacked = stack_levels(mlp, periods, variant=variant)
    assert torch.equal(stacked(x), mlp(x))
    assert len(stacked.levels) == len(periods)
    with torch.no_grad():
        stacked.levels[0][0].weight.zero_()
    assert not torch.equal(stacked(x), mlp(x)), "the stack owns copies and uses them"


def test_stacking_says_what_it_cannot_do():
    with pytest.raises(NlbenchError, match="4 layers"):
        stack_levels(pretrained(), (1, 2, 4, 8, 16))
    with pytest.raises(NlbenchError, match="heads"):
        stack_levels(pretrained(), (1, 2), variant="headwise")
    with pytest.raises(UnknownNameError, match="sequental"):
        ContinuumMemory([nn.Identity()], (1,), variant="sequental")
