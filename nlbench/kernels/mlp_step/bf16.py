"""The training step with its products in bfloat16: factors and activations rounded, sums in float32 inside a product; all else is
float32.
"""

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
    rounded = [weight.bfloat16() for weight in weights]
    values, logits = forward(rounded, biases, inputs)
    loss, gradient = cross_entropy(logits, labels, classes)
    delta = gradient.bfloat16()
    for i in reversed(range(len(weights))):
        change, bias_change = torch.bmm(delta.mT, values[i]), gradient.sum(1, dtype=torch.float32)
        if i:
            gradient = delta = torch.ops.aten.threshold_backward(torch.bmm(delta, rounded[i]), values[i], 0)
        if momentum:
            change = weight_velocities[i].mul_(momentum).add_(change)
            bias_change = bias_velocities[i].mul_(momentum).add_(bias_change)
        weights[i].sub_(change, alpha=rate)
        biases[i].sub_(bias_change, alpha=rate)
    return loss


def forward(rounded: Sequence[Tensor], biases: Sequence[Tensor], inputs: Tensor) -> tuple[list[Tensor], Tensor]:
    """What every layer is shown, bfloat16, and the logits, float32; `rounded` are the weights in bfloat16."""
    values = [inputs.bfloat16()]
    for weight, bias in zip(rounded[:-1], biases[:-1], strict=True):
        values.append(torch.bmm(values[-1], weight.mT).add_(bias[:, None]).relu_())
    return values, torch.bmm(values[-1], rounded[-1].mT) + biases[-1][:, None]
