"""The chain's training step by autograd, in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nlbench.kernels.block_step import BlockWeights
from nlbench.kernels.block_step.reference import block
from nlbench.kernels.chain_step import Chain, Linear
from nlbench.kernels.softmax import cross_entropy


def step(
    chain: Chain, targets: Chain, factors: Sequence[float], inputs: Tensor, labels: Tensor, classes: Tensor, eps: float
) -> Tensor:
    """The loss of every seed before the step; arguments as in `chain_step`."""
    leaves = [each.detach().requires_grad_() for each in chain.tensors()]
    first, readout = leaves[: 2 if chain.embedding else 0], Linear(*leaves[-2:])
    blocks = [BlockWeights(*leaves[start : start + 6]) for start in range(len(first), len(leaves) - 2, 6)]
    with torch.enable_grad():
        x = torch.baddbmm(first[1][:, None], inputs, first[0].mT) if first else inputs
        for weights in blocks:
            x = block(x, weights, "gelu", eps)
        logits = torch.baddbmm(readout.bias[:, None], x, readout.weight.mT)
    loss, delta = cross_entropy(logits.detach(), labels, classes)
    gradients = torch.autograd.grad(logits, leaves, delta)
    each_factor = [factors[0]] * len(first) + [factor for factor in factors for _ in range(6)] + [factors[-1]] * 2
    for target, factor, gradient in zip(targets.tensors(), each_factor, gradients, strict=True):
        target.add_(gradient, alpha=factor)
    return loss
