"""The training step in batched torch products, every derivative written out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nlbench.kernels.softmax import cross_entropy


def step(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    inputs: Tensor,
    labels: Tensor,
    classes: Tensor,
    rate: float,
    momentum: float,
    weight_velocities: Sequence[Tensor],
    bias_velocities: Sequence[Tensor],
) -> Tensor:
    """The loss of every seed before the step; arguments as in `mlp_step`."""
    values = [inputs]
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        values.append(torch.baddbmm(bias[:, None], values[i].relu_() if i else inputs, weight.mT))
    loss, delta = cross_entropy(values.pop(), labels, classes)
    for i in reversed(range(len(weights))):
        below = torch.bmm(delta, weights[i]).mul_(values[i] > 0) if i else delta
        if momentum:
            weight_velocities[i].baddbmm_(delta.mT, values[i], beta=momentum)
            bias_velocities[i].mul_(momentum).add_(delta.sum(1))
            weights[i].sub_(weight_velocities[i], alpha=rate)
            biases[i].sub_(bias_velocities[i], alpha=rate)
        else:
            weights[i].baddbmm_(delta.mT, values[i], alpha=-rate)
            biases[i].sub_(delta.sum(1), alpha=rate)
        delta = below
    return loss
