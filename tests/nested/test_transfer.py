import pytest
import torch

from nlbench.errors import NlbenchError
from nlbench.nested.continuum import ContinuumMemory
from nlbench.nested.hope import Attention
from nlbench.nested.layers import Draws
from nlbench.nested.self_referential import SelfReferential, SelfReferentialConfig
from nlbench.nested.transfer import Transfer, cross, meta_gradient, reptile


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def level_gradients(transfer) -> list[bool]:
    memory = ContinuumMemory.of_blocks(6, 12, (1, 4)).double()
    memory.transfer = transfer
    memory(draw(3, 6)).square().sum().backward()
    return [any(p.grad is not None for p in memory.level_parameters(i).values()) for i in range(2)]


def test_backprop_reaches_the_slow_level_and_condition_does_not():
    assert level_gradients(Transfer.BACKPROP) == [True, True]
    assert level_gradients(Transfer.CONDITION) == [False, True]


def test_condition_and_backprop_give_the_same_forward():
    x = draw(3, 6)
    assert torch.equal(cross(Transfer.CONDITION, x), cross(Transfer.BACKPROP, x))


@pytest.mark.parametrize("edge", [Transfer.NONPARAMETRIC, Transfer.INIT, Transfer.GENERATE])
def test_other_edges_are_not_chains(edge):
    with pytest.raises(NlbenchError, match=edge.value):
        cross(edge, draw(2, 2))


def test_nonparametric_edge_reads_another_context_without_parameters_changing():
    attention = Attention(8, 2, Draws.of(0)).double()
    context, x = draw(1, 5, 8), draw(1, 3, 8, seed=1)
    _, state = attention(context, attention.initial_state(1))
    alone, informed = attention(x, attention.initial_state(1))[0], attention(x, state)[0]
    assert (alone - informed).abs().max() > 1e-3
    assert set(state) == {"keys", "values"}


def test_generate_edge_lets_a_memory_write_its_own_values():
    module = SelfReferential(8, 1, SelfReferentialConfig(form="linear", backend="reference")).double()
    _, state = module(draw(1, 20, 8))
    assert all(value.abs().max() > 1e-6 for value in state.values())


def losses(count):
    def make(s):
        a, b = draw(4, 4, seed=s), draw(4, seed=s + 50)
        return lambda p: (a @ p["w"] - b).tanh().square().sum()

    return [make(s) for s in range(count)]


def test_maml_equals_finite_differences_and_fomaml_does_not():
    inner, outer, rate = losses(3), losses(4)[-1], 0.1
    start = draw(4, seed=9)

    def adapted(w):
        for loss in inner:
            w = w.detach().requires_grad_()
            w = (w - rate * torch.autograd.grad(loss({"w": w}), w)[0]).detach()
        return float(outer({"w": w}))

    step = 1e-6
    numeric = [(adapted(start + step * e) - adapted(start - step * e)) / (2 * step) for e in torch.eye(4).double()]
    full = meta_gradient({"w": start}, inner, outer, rate, first_order=False)["w"]
    first = meta_gradient({"w": start}, inner, outer, rate, first_order=True)["w"]
    numeric = torch.tensor(numeric, dtype=torch.float64)
    assert (full - numeric).abs().max() < 1e-8
    assert (first - numeric).abs().max() > 1e-3


def test_fomaml_is_the_gradient_at_the_last_state():
    inner, outer = losses(2), losses(3)[-1]
    w = draw(4, seed=9)
    for loss in inner:
        leaf = w.clone().requires_grad_()
        w = w - 0.1 * torch.autograd.grad(loss({"w": leaf}), leaf)[0]
    leaf = w.clone().requires_grad_()
    expected = torch.autograd.grad(outer({"w": leaf}), leaf)[0]
    assert torch.allclose(meta_gradient({"w": draw(4, seed=9)}, inner, outer, 0.1, first_order=True)["w"], expected, atol=1e-14)


def test_reptile_moves_a_share_of_the_way():
    start, end = {"w": torch.zeros(2)}, {"w": torch.ones(2)}
    assert torch.equal(reptile(start, end, 0.25)["w"], torch.full((2,), 0.25))
