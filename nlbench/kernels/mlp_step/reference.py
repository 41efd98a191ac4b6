"""The training step by autograd, as anyone would write it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


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
    parameters = [each.detach().requires_grad_() for each in (*weights, *biases)]
    with torch.enable_grad():
        values = inputs
        for i, (weight, bias) in enumerate(zip(parameters[: len(weights)], parameters[len(weights) :], strict=True)):
            values = torch.baddbmm(bias[:, None], values.relu() if i else values, weight.mT)
        logits = values.masked_fill(~classes, -torch.inf)
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape).mean(1)
        gradients = torch.autograd.grad(losses.sum(), parameters)
    for i, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        change = gradient
        if momentum:
            change = (*weight_velocities, *bias_velocities)[i].mul_(momentum).add_(gradient)
        parameter.detach().sub_(change, alpha=rate)
    return losses.detach()
