"""The logits of a ReLU multi-layer perceptron, all seeds at once: what evaluation spends its time on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nlbench.kernels.backends import Backend, Bound, implementation, resolve


def mlp_logits(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    inputs: Tensor,
    *,
    precision: str = "float32",
    backend: Backend | Bound = "auto",
) -> Tensor:
    """The logits (S, N, n_classes); nothing is changed.

    weights  one (S, d_out, d_in) a layer, biases (S, d_out); ReLU between layers. Slices of a matrix that has the
             biases as its last column are used where they lie
    inputs   (1 or S, N, d_in); 1 where all seeds are shown the same
    precision  as in `mlp_step`

    Cost: 2 N Σ d_in d_out floating-point operations a seed. Raises `ValueError` for shapes or types that do not fit.
    """
    shown, _, width = inputs.shape
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        seeds, d_out = bias.shape
        if weight.shape != (seeds, d_out, width) or shown not in (1, seeds) or seeds != len(weights[0]):
            raise ValueError(
                f"mlp_logits: weights[{i}] {tuple(weight.shape)} and biases[{i}] {tuple(bias.shape)} do not fit inputs"
                f" {tuple(inputs.shape)}"
            )
        if (weight.dtype, weight.device) != (inputs.dtype, inputs.device):
            raise ValueError(
                f"mlp_logits: weights[{i}] is {weight.dtype} on {weight.device}, inputs {inputs.dtype} on {inputs.device}"
            )
        width = d_out
    return implementation(__name__, backend, inputs, precision).logits(weights, biases, inputs)


def load(*, backend: Backend | Bound = "auto") -> None:
    """Make the smallest logits there are on CPU cores: machine code is loaded, or compiled, before a batch is timed."""
    one = torch.zeros(1, 1, 1)
    if resolve(__name__, backend, one) == "numba":
        mlp_logits([one], [one[0]], one, backend=backend)
