"""Where the outer gradient of self-referential Titans goes, and where it ends."""

import pytest
import torch
from token_loop import configured, draw, module


def host_side_gates(block, x):
    """Faulty: η and α become one Python number a call, so the outer gradient ends there."""
    for bias in (block.rate_bias, block.retain_bias):
        bias.requires_grad_(False)
    for name in ("rate", "retain"):
        block.initial[name].requires_grad_(False)
    return block(x)[0]


@pytest.mark.parametrize("form", ["linear", "mlp", "matrix"])
@pytest.mark.parametrize("truncation", [1, 4, None])
def test_outer_gradient_reaches_every_initial_state(form, truncation):
    def untouched(read) -> list[str]:
        block = module(configured(form=form, truncation=truncation))
        read(block, draw(2, 24, 8)).square().sum().backward()
        return [name for name, p in block.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-9]

    assert untouched(lambda block, x: block(x)[0]) == []
    assert untouched(host_side_gates) != []


def test_full_outer_gradient_passes_gradcheck():
    block = module(configured(form="mlp", chunk=1, outer_chunk=2, momentum=0.3), dim=4)
    names = [name for name, _ in block.named_parameters()]

    def run(x, *parameters):
        return torch.func.functional_call(block, dict(zip(names, parameters, strict=True)), (x,))[0]

    leaves = [p.detach().requires_grad_() for p in block.parameters()]
    assert torch.autograd.gradcheck(run, (draw(1, 5, 4).requires_grad_(), *leaves), atol=1e-6, fast_mode=True)


def test_truncation_is_where_the_gradient_through_writes_ends():
    x = draw(1, 32, 8)

    def reach(truncation) -> list[bool]:
        leaf = x.clone().requires_grad_()
        block = module(configured(chunk=4, outer_chunk=8, truncation=truncation))
        block(leaf)[0][:, 24:].square().sum().backward()
        return [bool(leaf.grad[:, start : start + 8].abs().max() > 1e-9) for start in range(0, 32, 8)]

    assert reach(None) == [True, True, True, True]
    assert reach(2) == [False, False, True, True]
    assert reach(1) == [False, False, False, True]
    outputs = [module(configured(truncation=n))(x)[0] for n in (None, 2, 0)]
    assert torch.allclose(outputs[0], outputs[1], atol=1e-13)
    assert torch.allclose(outputs[0], outputs[2], atol=1e-13)


def test_first_order_gradient_reads_initial_plus_a_constant_difference():
    block, x = module(configured(truncation=0)), draw(1, 24, 8)
    y, _ = block(x)
    (found,) = torch.autograd.grad(y.square().sum(), block.initial["memory"][0])
    q = block.query(x)
    q = q / q.norm(dim=-1, keepdim=True)
    assert (found[0] - (2 * y[0]).T @ q[0]).abs().max() < 1e-10, "y = q + (M_0 + constant) q"
    (gate,) = torch.autograd.grad(block(x)[0].sum(), block.initial["rate"][0], allow_unused=True)
    assert gate is None or gate.abs().max() == 0
