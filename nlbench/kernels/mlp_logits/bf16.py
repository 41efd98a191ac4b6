"""The logits with products in bfloat16, as the training step makes them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nlbench.kernels.mlp_step.bf16 import forward


def logits(weights: Sequence[Tensor], biases: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """(S, N, n_classes) float32; arguments as in `mlp_logits`."""
    return forward([weight.bfloat16() for weight in weights], biases, inputs.expand(len(weights[0]), -1, -1))[1]
