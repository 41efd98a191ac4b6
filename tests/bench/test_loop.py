"""The tight loop: its step is SGD on cross-entropy, and pixel orders move its first layer there and back."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from nlbench.bench import loop


def net(batch=6):
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(7, 5, generator=generator), torch.randn(3, 7, generator=generator)]
    return loop.Perceptron(weights, [torch.randn(7, generator=generator), torch.randn(3, generator=generator)], batch)


def test_a_step_is_sgd_on_cross_entropy():
    made, inputs = net(), torch.randn(20, 5, generator=torch.Generator().manual_seed(1))
    rows, labels = torch.tensor([3, 1, 4, 1, 5]), torch.tensor([0, 1, 2, 1, 0])
    leaves = [each.clone().requires_grad_() for pair in zip(made.weights, made.biases, strict=True) for each in pair]
    x = inputs[rows]
    for i in range(0, len(leaves), 2):
        x = F.linear(x, leaves[i], leaves[i + 1])
        x = x.relu() if i + 2 < len(leaves) else x
    gradients = torch.autograd.grad(F.cross_entropy(x, labels), leaves)
    with torch.no_grad():
        made.step(inputs, rows, labels, 0.1)
    after = [each for pair in zip(made.weights, made.biases, strict=True) for each in pair]
    for own, leaf, gradient in zip(after, leaves, gradients, strict=True):
        assert torch.allclose(own, leaf.detach() - 0.1 * gradient, atol=1e-6)


def test_correct_counts_the_highest_logit():
    made, inputs = net(), torch.randn(9, 5, generator=torch.Generator().manual_seed(2))
    hidden = F.linear(inputs, made.weights[0], made.biases[0]).relu()
    labels = F.linear(hidden, made.weights[1], made.biases[1]).argmax(1)
    assert made.correct(inputs, labels) == 9
    assert made.correct(inputs, (labels + 1) % 3) == 0


def test_orders_lead_from_any_to_any_and_back():
    generator = torch.Generator().manual_seed(3)
    first, second = (torch.randperm(5, generator=generator) for _ in range(2))
    x, weight = torch.randn(4, 5, generator=generator), torch.randn(2, 5, generator=generator)
    there = weight[:, loop._between(None, first)]
    assert torch.allclose(x[:, first] @ weight.T, x @ there.T, atol=1e-6)
    moved = there[:, loop._between(first, second)]
    assert torch.allclose(x[:, second] @ weight.T, x @ moved.T, atol=1e-6)
    assert loop._between(first, first) is None
