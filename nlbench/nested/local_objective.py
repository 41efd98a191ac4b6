"""Objectives local to a layer: extra gradient for its weights that does not flow into the layers below (Nested Learning, §4.5).

For a layer y = W x with local surprise δ = ∂L/∂y, `½‖y‖²` adds yᵀx to ∂L/∂W, which turns gradient descent into DGD, and
`½‖y + δ‖²` with δ held fixed adds (y + δ)ᵀx, the surprise objective of order 1. Hooks see x, y and δ where they arise, so
nothing is passed by hand or matched by shape, and no xxᵀ is formed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from nlbench.errors import NlbenchError
from nlbench.nested.layers import Linear
from nlbench.nested.rules import proximal_gain

Reduction = Literal["mean", "sum"]


@dataclass(frozen=True, slots=True)
class LocalObjective:
    """What to add to a layer's weight gradient: (`surprise` δ + `output` y)ᵀ x, δ and y of each sample.

    reduction: how the loss reduces over a replica's samples; with "mean" a sample's y counts 1/n, as its δ does already.
    proximal_rate: None for the plain gradient, or a function that returns the learning rate η > 0. Then the layer's whole
    gradient becomes the one for which W - η∂ is the exact proximal step, the minimiser of Σ (κ/2)‖Wx + δ/κ‖² + (1/2η)‖W -
    W_t‖², κ = `output` (1/n with "mean"); `surprise` must be 0 and the layer used once per backward pass.
    """

    surprise: float = 0.0
    output: float = 0.0
    reduction: Reduction = "mean"
    proximal_rate: Callable[[], float] | None = None


def trainable_layers(module: nn.Module) -> list[nn.Module]:
    """Return the linear and convolution layers inside `module`, torch's and this package's."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d | Linear)]


def attach(layers: Iterable[nn.Module], objective: LocalObjective) -> list[RemovableHandle]:
    """Return the hooks that add `objective` to the gradients of `layers`; call `.remove()` on each to stop.

    A layer is an `nn.Conv2d`, or anything that maps x (*lead, ..., d_in) to x Wᵀ + b with `weight` (*lead, d_out, d_in)
    and `bias` (*lead, d_out) or None, where *lead are replica axes. Only groups = 1 and zero padding of a convolution.
    """
    layers = list(layers)
    for layer in layers:
        if isinstance(layer, nn.Conv2d) and (
            layer.groups != 1 or isinstance(layer.padding, str) or layer.padding_mode != "zeros"
        ):
            raise NlbenchError(f"local objective: {layer} is not a plain convolution.", "Use groups=1, numeric zero padding.")
    return [layer.register_forward_hook(_make_hook(objective)) for layer in layers]


def _make_hook(objective: LocalObjective) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not (torch.is_grad_enabled() and layer.weight.requires_grad):
            return None
        return _AddLocalGradient.apply(output, inputs[0].detach(), layer.weight, layer.bias, layer, objective)

    return hook


def add_local_gradient(output: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor | None, objective: LocalObjective) -> Tensor:
    """Return `output` = x Wᵀ + b unchanged, and make its backward pass add `objective` to the gradients of W and b.

    For models that pass weights to functions instead of calling layers: x (*lead, ..., d_in), W (*lead, d_out, d_in), b
    (*lead, d_out).
    """
    return _AddLocalGradient.apply(output, inputs.detach(), weight, bias, None, objective)


class _AddLocalGradient(torch.autograd.Function):
    """The identity on a layer's output whose backward also gives the layer's weights their local gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        layer: nn.Module | None,
        objective: LocalObjective,
    ) -> Tensor:
        ctx.save_for_backward(output, inputs, weight)
        ctx.layer, ctx.objective, ctx.has_bias = layer, objective, bias is not None
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, surprise: Tensor) -> tuple[Tensor | None, ...]:
        output, inputs, weight = ctx.saved_tensors
        x, y, delta, samples = as_rows(ctx.layer, weight, inputs, output, surprise)
        if ctx.has_bias:
            x = torch.cat((x, torch.ones_like(x[..., :1])), -1)
        share = 1 / samples if ctx.objective.reduction == "mean" else 1.0
        extra = local_gradient(x, y, delta, ctx.objective, share)
        weight_extra = extra[..., : x.shape[-1] - ctx.has_bias].reshape(weight.shape)
        return surprise, None, weight_extra, extra[..., -1] if ctx.has_bias else None, None, None


def local_gradient(inputs: Tensor, outputs: Tensor, surprises: Tensor, objective: LocalObjective, share: float) -> Tensor:
    """Return what is added to ∂L/∂W = δᵀx, for rows x (..., n, d_in), y and δ (..., n, d_out); each y weighs `share`."""
    kappa = objective.output * share
    if objective.proximal_rate is None or kappa == 0:
        return (objective.surprise * surprises + kappa * outputs).mT @ inputs
    strength = objective.proximal_rate() * kappa
    gain = proximal_gain(inputs, strength * inputs) / strength
    return (surprises + kappa * outputs).mT @ gain - surprises.mT @ inputs


def as_rows(
    layer: nn.Module | None, weight: Tensor, inputs: Tensor, output: Tensor, surprise: Tensor
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return (x, y, δ, samples), one row per use of the weight matrix: tokens of a linear layer, patches of a convolution.

    `samples` is what a mean loss divides by: rows of a linear layer, images of a convolution.
    """
    if isinstance(layer, nn.Conv2d):
        x = F.unfold(inputs, layer.kernel_size, layer.dilation, cast(tuple[int, ...], layer.padding), layer.stride).mT.flatten(
            0, 1
        )
        y, delta = (t.flatten(2).mT.flatten(0, 1) for t in (output, surprise))
        return x, y, delta, inputs.shape[0]
    lead = weight.shape[:-2]
    x, y, delta = (t.reshape(*lead, -1, t.shape[-1]) for t in (inputs, output, surprise))
    return x, y, delta, x.shape[-2]
