"""The gates of self-referential Titans: alive at the start, bounded, and each token's own."""

import pytest
import torch
from token_loop import configured, draw, module


def unbiased_gate(module):
    """Faulty: α = σ(M_α(x)) without a bias is .5: the memory is gone in a few tokens."""
    with torch.no_grad():
        module.retain_bias.zero_()


def forget_gate(module):
    """Faulty: α read as the share to forget, 1 - σ(b)."""
    with torch.no_grad():
        module.retain_bias.neg_()


@pytest.mark.parametrize(("fault", "alive"), [(None, True), (unbiased_gate, False), (forget_gate, False)])
def test_half_life_is_live_and_true(fault, alive):
    """A difference decays to one half in the half-life that the module states, and the default one spans a segment's scale."""
    block = module(configured(form="mlp", rate_max=0.0))
    if fault is not None:
        fault(block)
    x, state = draw(1, 1, 8), {name: torch.ones_like(value) for name, value in block.initial_state(1).items()}
    with torch.no_grad():  # a constant gate, so that the half-life holds for the whole run
        block.initial["retain"][1].zero_()
        state["retain.1"].zero_()
        life = float(block.half_life(x, state))
        tokens = max(1, round(life))
        _, after = block(x.expand(1, tokens, 8), state)
    assert float(after["memory.0"].mean()) == pytest.approx(2 ** -(tokens / life), rel=1e-9)
    assert (20 < life < 80) == alive


def batch_mean_gates(block, x):
    """Faulty: one η and one α for all tokens of all rows."""
    return tuple(gate.mean().expand_as(gate) for gate in block.gates(x))


def test_gates_are_bounded_and_belong_to_their_token():
    block = module(configured(retain_min=0.25), dim=16, heads=2)
    x = 100 * draw(3, 20, 16)

    def per_token(gates) -> bool:
        return all(float(gate.detach().std(-1).min()) > 0 for gate in gates)

    rate, retain = block.gates(x)
    assert rate.shape == retain.shape == (3, 2, 20)
    for gate, low in ((rate, 0.0), (retain, 0.25)):
        assert gate.min() >= low
        assert gate.max() <= 1
    assert per_token(block.gates(x / 100))
    assert not per_token(batch_mean_gates(block, x / 100))
