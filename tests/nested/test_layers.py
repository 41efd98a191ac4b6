import pytest
import torch

from nlbench.nested.layers import CausalConvolution, Draws, LayerNorm, Linear, linear, unit


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_draws_belong_to_a_seed_and_a_name():
    many = Draws.of((3, 5)).within("a").normal("w", 4, 2, std=0.5)
    assert torch.equal(many[1], Draws.of(5).within("a").normal("w", 4, 2, std=0.5))
    assert not torch.equal(many[0], many[1])
    assert not torch.equal(many[0], Draws.of(3).within("b").normal("w", 4, 2, std=0.5))
    state = torch.random.get_rng_state()
    Linear(4, 2, Draws.of(0))
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left alone"


def test_linear_and_norm_match_torch_seed_by_seed():
    layer, norm = Linear(4, 3, Draws.of((0, 1))).double(), LayerNorm(4, Draws.of((0, 1))).double()
    with torch.no_grad():
        norm.weight.copy_(draw(2, 4))
        norm.bias.copy_(draw(2, 4, seed=1))
    x = draw(2, 5, 6, 4)
    for s in range(2):
        assert torch.allclose(layer(x)[s], torch.nn.functional.linear(x[s], layer.weight[s], layer.bias[s]), atol=1e-14)
        expected = torch.nn.functional.layer_norm(x[s], (4,), norm.weight[s], norm.bias[s])
        assert torch.allclose(norm(x)[s], expected, atol=1e-14)
    assert linear(x, layer.weight).shape == (2, 5, 6, 3)


def test_unit_has_length_one_and_a_finite_gradient_at_zero():
    x = torch.zeros(2, 3, dtype=torch.float64)
    x[0] = draw(3)
    x.requires_grad_()
    assert torch.allclose(unit(x).norm(dim=-1), torch.tensor([1.0, 0.0]).double(), atol=1e-11)
    unit(x).sum().backward()
    assert x.grad.isfinite().all()


def centred(convolution, x):
    """Faulty: a window of three around the token sees the token after it."""
    padded = torch.nn.functional.pad(x, (0, 0, 1, 1))
    return sum(padded[:, i : i + x.shape[1]] * convolution.weight[i] for i in range(3))


def test_convolution_is_causal_depthwise_and_of_window_four():
    convolution, x = CausalConvolution(6, Draws.of(0)).double(), draw(1, 10, 6)

    def reach(f) -> list[int]:
        jacobian = torch.autograd.functional.jacobian(lambda z: f(z)[0, 5], x)[:, 0].abs()
        across = jacobian * (1 - torch.eye(6).double())[:, None]
        assert across.max() == 0, "a feature reads only itself"
        return [token - 5 for token in range(10) if jacobian[:, token].max() > 0]

    assert reach(lambda z: convolution(z, torch.zeros(1, 3, 6).double())[0]) == [-3, -2, -1, 0]
    assert 1 in reach(lambda z: centred(convolution, z))


def test_convolution_carries_its_tail():
    convolution, x = CausalConvolution(6, Draws.of((0, 1))).double(), draw(2, 3, 10, 6)
    tail = torch.zeros(2, 3, 3, 6).double()
    whole, end = convolution(x, tail)
    pieces = []
    for part in x.split([1, 4, 2, 3], 2):
        y, tail = convolution(part, tail)
        pieces.append(y)
    assert torch.equal(torch.cat(pieces, 2), whole)
    assert torch.equal(tail, end)
    assert torch.equal(end, x[..., -3:, :])


@pytest.mark.parametrize("seeds", [0, (0, 1)])
def test_convolution_has_the_gradients_of_its_sum_twice(seeds):
    convolution = CausalConvolution(3, Draws.of(seeds)).double()
    lead = (2,) if seeds else ()
    inputs = [draw(*lead, 2, 5, 3).requires_grad_(), draw(*lead, 2, 3, 3, seed=1).requires_grad_(), convolution.weight]

    def convolved(x, tail, weight):
        return torch.func.functional_call(convolution, {"weight": weight}, (x, tail))[0]

    assert torch.autograd.gradcheck(convolved, inputs)
    assert torch.autograd.gradgradcheck(convolved, inputs)


def test_convolution_is_mapped_over_seeds():
    convolution, x, tail = CausalConvolution(3, Draws.of(0)).double(), draw(4, 2, 5, 3), draw(4, 2, 3, 3, seed=1)
    weights = draw(4, 4, 3, seed=2)

    def convolved(weight, x, tail):
        return torch.func.functional_call(convolution, {"weight": weight}, (x, tail))[0]

    def slopes(weight, x, tail):
        return torch.func.grad(lambda weight: convolved(weight, x, tail).square().sum())(weight)

    for f in (convolved, slopes):
        each = torch.stack([f(*given) for given in zip(weights, x, tail, strict=True)])
        assert torch.allclose(torch.func.vmap(f)(weights, x, tail), each, atol=1e-12)
