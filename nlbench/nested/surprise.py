"""Local surprise δ = ∂L/∂y: a measure of how unexpected a batch is, and an objective that layers can learn from.

The objective is ½‖y + δ‖² per sample, its target y - (y + δ) = -δ: one gradient step on it with δ held fixed is DGD on
that layer (Nested Learning, §4.5). Order 1 holds δ fixed and costs nothing beyond the backward pass; order 2
differentiates through δ.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nlbench.errors import NlbenchError
from nlbench.nested.local_objective import LocalObjective, Reduction, as_rows, attach, trainable_layers

Order = Literal[1, 2]


def surprise_size(surprise: Tensor, replica_axes: int = 0) -> Tensor:
    """Return RMS(δ) over everything but the leading `replica_axes`: one number per replica."""
    return surprise.flatten(replica_axes).square().mean(-1).sqrt() if surprise.ndim > replica_axes else surprise.abs()


class SurpriseStatistics(NamedTuple):
    """Running mean and variance of a surprise, (...), and how many values they hold."""

    mean: Tensor
    variance: Tensor
    seen: int


def surprise_statistics(*replicas: int, like: Tensor) -> SurpriseStatistics:
    """Return empty statistics with leading axes `replicas`, on the device and with the dtype of `like`."""
    zeros = like.new_zeros(replicas)
    return SurpriseStatistics(zeros, zeros, 0)


def standardise(size: Tensor, statistics: SurpriseStatistics, decay: float = 0.99) -> tuple[Tensor, SurpriseStatistics]:
    """Return (z, statistics): z = (s - mean)/deviation against the values before s, 0 for the first; then s joins the averages.

    Averages are exact means until 1/(1 - decay) values were seen and exponential afterwards, so the start is not pulled
    to zero.
    """
    deviation = statistics.variance.sqrt()
    offset = size - statistics.mean
    z = torch.where(deviation > 0, offset / deviation.clamp_min(torch.finfo(size.dtype).tiny), 0.0)
    share = max(1 - decay, 1 / (statistics.seen + 1))
    mean = statistics.mean + share * offset
    variance = (1 - share) * (statistics.variance + share * offset.square())
    return z, SurpriseStatistics(mean, variance, statistics.seen + 1)


class SurpriseObjective:
    """Adds `weight` times Σ_layers mean ½‖y + δ‖² to what `module` learns from; off at weight 0, the default.

    Order 1 hooks the layers: each gets weight (y + δ)ᵀx on its own weights, nothing flows into the layers below, and no
    graph of the backward pass is built. Order 2 adds the objective to the loss with δ inside the graph (double backward):
    call the object on the loss; self-referential memories then need backend="reference", the only one differentiable twice.
    With reduction "mean" δ and y are those of one sample, n times what autograd reports for a mean loss; else y would drown δ
    and the objective would only shrink activations. Recommended weights <= .05.

        surprise = SurpriseObjective(model, order=2, weight=0.01)
        surprise(loss_function(model(inputs), labels)).backward()
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        order: Order = 1,
        weight: float = 0.0,
        reduction: Reduction = "mean",
        layers: Iterable[nn.Module] | None = None,
    ) -> None:
        if order not in (1, 2) or weight < 0:
            raise NlbenchError(
                f"surprise: order must be 1 or 2 and weight >= 0, got {order}, {weight}.", "Weight 0 turns it off."
            )
        self.order, self.weight, self.reduction = order, weight, reduction
        self.hooks: list[RemovableHandle] = []
        self._seen: list[tuple[nn.Module, Tensor, Tensor]] = []
        chosen = trainable_layers(module) if layers is None else list(layers)
        if weight and order == 1:
            self.hooks = attach(chosen, LocalObjective(surprise=weight, output=weight, reduction=reduction))
        elif weight:
            self.hooks = [layer.register_forward_hook(self._remember) for layer in chosen]

    def __call__(self, loss: Tensor) -> Tensor:
        """Return the loss to call `backward` on: the same at weight 0 and order 1, with the objective added at order 2.

        `loss` is the last forward pass's, of any shape; its sum is differentiated (seeds do not mix).
        """
        if not self._seen:
            return loss
        seen, self._seen = self._seen, []
        surprises = torch.autograd.grad(loss.sum(), [output for _, _, output in seen], create_graph=True)
        objective = sum(self._objective(layer, x, y, delta) for (layer, x, y), delta in zip(seen, surprises, strict=True))
        return loss + self.weight * objective

    def detach(self) -> None:
        """Remove the hooks: the module learns from its loss alone again."""
        for hook in self.hooks:
            hook.remove()
        self._seen = []

    def _remember(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if torch.is_grad_enabled() and output.requires_grad:
            self._seen.append((layer, inputs[0], output))

    def _objective(self, layer: nn.Module, inputs: Tensor, output: Tensor, surprise: Tensor) -> Tensor:
        """Return ½ Σ‖y + δ‖² of one layer, averaged over samples with reduction "mean"; one value per replica."""
        return surprise_objective(cast(Tensor, layer.weight), inputs, output, surprise, layer=layer, reduction=self.reduction)


def surprise_objective(
    weight: Tensor,
    inputs: Tensor,
    output: Tensor,
    surprise: Tensor,
    *,
    layer: nn.Module | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return ½ Σ‖y + δ‖² of one layer, averaged over samples with reduction "mean"; one value per replica, an axis of the weight
    before its last two. `layer` is needed of a convolution.
    """
    _, y, delta, samples = as_rows(layer, weight, inputs, output, surprise)
    if reduction == "sum":
        return 0.5 * (y + delta).square().sum((-2, -1))
    return 0.5 * (y + samples * delta).square().sum((-2, -1)) / samples
