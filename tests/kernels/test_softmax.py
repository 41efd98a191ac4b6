import torch
from torch.nn import functional as F

from nlbench.kernels.softmax import cross_entropy

S, B, C = 3, 7, 4


def test_cross_entropy_is_torchs_and_its_gradient_autograds() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(S, B, C, generator=draw).double().requires_grad_()
    labels, classes = torch.randint(3, (S, B), generator=draw), torch.tensor([True, True, True, False])
    loss, delta = cross_entropy(logits.detach(), labels, classes)
    masked = logits.masked_fill(~classes, -torch.inf)
    expected = torch.stack([F.cross_entropy(masked[index], labels[index]) for index in range(S)])
    (gradient,) = torch.autograd.grad(expected.sum(), logits)
    assert torch.allclose(loss, expected, atol=1e-12)
    assert torch.allclose(delta, gradient, atol=1e-12)
