"""Training steps of a ReLU multi-layer perceptron: forward, loss, backward and SGD in one call, all seeds at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from nlbench.kernels.backends import Backend, Bound, implementation, resolve

WORTH_LOADING: Final = 10**8
"""Steps times parameters of a seed below which torch has finished the run before the kernel's machine code would be loaded."""


def mlp_step(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    inputs: Tensor,
    labels: Tensor,
    classes: Tensor,
    *,
    rate: float,
    momentum: float = 0.0,
    weight_velocities: Sequence[Tensor] = (),
    bias_velocities: Sequence[Tensor] = (),
    precision: str = "float32",
    backend: Backend | Bound = "auto",
) -> Tensor:
    """The mean softmax cross-entropy before the step, (S,). Weights, biases and velocities are changed in place.

    weights  one (S, d_out, d_in) a layer, biases (S, d_out); ReLU between layers
    inputs   (S, B, d_in); labels (S, B), int64; classes (n_classes,), bool: the logits that compete
    rate     θ -= rate g; with momentum μ > 0 v = μ v + g, θ -= rate v, and the velocities, shaped as the parameters, are required
    precision  "bf16": factors of products and hidden values in bfloat16, for tensors of float32; the rest as they are

    Parameters must be contiguous. Cost: 6 B Σ d_in d_out floating-point operations a seed.
    """
    seeds, batch, _ = inputs.shape
    _check(weights, biases, inputs, seeds, momentum, weight_velocities, bias_velocities)
    if labels.shape != (seeds, batch) or classes.shape != biases[-1].shape[1:] or not batch:
        raise ValueError(
            f"mlp_step: labels {tuple(labels.shape)} or classes {tuple(classes.shape)} do not fit inputs and last layer,"
            " or are none"
        )
    step = implementation(__name__, backend, inputs, precision).step
    return step(weights, biases, inputs, labels, classes, rate, momentum, weight_velocities, bias_velocities)


def mlp_steps(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    data: Tensor,
    rows: Tensor,
    labels: Tensor,
    classes: Tensor,
    *,
    batch: int,
    rate: float,
    momentum: float = 0.0,
    weight_velocities: Sequence[Tensor] = (),
    bias_velocities: Sequence[Tensor] = (),
    backend: Backend | Bound = "auto",
) -> Tensor:
    """The mean softmax cross-entropy before each of K steps, (S, K): what as many calls of `mlp_step` return and change, to the
    bit.

    data   (N, d_in), the same for all seeds
    rows   (S, n), int64: the samples as rows of the data, one batch after another; labels (S, n)
    batch  B: samples of a batch; the last one holds what is left, and K = ⌈n / B⌉

    In Numba no step waits for Python, and where seeds are many each one's numbers stay in its core's cache from step to step.
    """
    _check(weights, biases, data, len(rows), momentum, weight_velocities, bias_velocities)
    if rows.ndim != 2 or labels.shape != rows.shape or classes.shape != biases[-1].shape[1:] or batch < 1:
        raise ValueError(
            f"mlp_steps: rows {tuple(rows.shape)}, labels {tuple(labels.shape)} or classes {tuple(classes.shape)} do not fit each"
            f" other and the last layer, or batch {batch} is not positive"
        )
    if rows.device.type == "cpu" and rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < len(data):
        raise ValueError(f"mlp_steps: rows must be 0 to {len(data) - 1}, got {int(rows.min())} to {int(rows.max())}")
    if not rows.shape[1]:
        return data.new_zeros(len(rows), 0)
    velocities = weight_velocities, bias_velocities
    kernel = implementation(__name__, backend, data)
    if hasattr(kernel, "steps"):
        return kernel.steps(weights, biases, data, rows, labels, classes, batch, rate, momentum, *velocities)
    step = kernel.step
    each = zip(rows.split(batch, 1), labels.split(batch, 1), strict=True)
    return torch.stack([step(weights, biases, data[row], own, classes, rate, momentum, *velocities) for row, own in each], 1)


def load(*, backend: Backend | Bound = "auto") -> None:
    """Take the smallest step there is on CPU cores: machine code is loaded, or compiled where this version never ran, before a
    batch is timed. Other backends have none.
    """
    one = torch.zeros(1, 1, 1)
    if resolve(__name__, backend, one) == "numba":
        labels, classes = torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, dtype=torch.bool)
        mlp_step([one], [one[0]], one, labels, classes, rate=0.0, backend=backend)


def _check(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    inputs: Tensor,
    seeds: int,
    momentum: float,
    weight_velocities: Sequence[Tensor],
    bias_velocities: Sequence[Tensor],
) -> None:
    """Raise `ValueError` for parameters that do not fit inputs (…, d_in); without names, as steps may last microseconds."""
    width = inputs.shape[-1]
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if weight.shape != (seeds, bias.shape[-1], width) or bias.shape != (seeds, bias.shape[-1]):
            raise ValueError(
                f"mlp_step: weights[{i}] {tuple(weight.shape)} and biases[{i}] {tuple(bias.shape)} do not fit {seeds} seeds of"
                f" {width} inputs"
            )
        if (weight.dtype, weight.device) != (inputs.dtype, inputs.device):
            raise ValueError(
                f"mlp_step: weights[{i}] is {weight.dtype} on {weight.device}, inputs {inputs.dtype} on {inputs.device}"
            )
        width = bias.shape[-1]
    velocities = (*weight_velocities, *bias_velocities)
    if [each.shape for each in velocities] != [each.shape for each in (*weights, *biases) if momentum]:
        raise ValueError("mlp_step: momentum needs one velocity for every parameter, and only momentum has use for them")
    if not all(each.is_contiguous() for each in (*weights, *biases, *velocities)):
        raise ValueError("mlp_step: parameters and velocities are changed in place and must be contiguous")
