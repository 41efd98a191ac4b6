"""What layers see, and gradients that leave directions of it alone.

A layer multiplies each of its inputs, of a convolution each patch, by a matrix [W b] once a 1 is put behind it; then a gradient
of [W b] times a projector changes no answer to inputs that the projector takes to zero.

Shapes: S seeds, B samples, N inputs of a layer, D numbers in one, the 1 of a bias included.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.errors import NlbenchError
from nlbench.learners.gradient import GradientLearner, cross_entropy
from nlbench.learners.gradient_config import GradientConfig
from nlbench.networks.network import Tree, require_taps


class Projecting(GradientLearner):
    """Keeps a square matrix (S, D, D) a layer, and notes what layers see in a training step.

    Every parameter must be the weight or the bias of a layer that multiplies; a head of a task's own has a matrix too, which is
    of no use once its task is over.
    """

    made_anew = (*GradientLearner.made_anew, "seen")
    matrices: Tree
    """{layer: (S, D, D)}."""

    def __init__(self, config: GradientConfig, problem: Problem) -> None:
        self.matrices = {}
        self.seen: Tree = {}
        """{layer: (S, B, D) or, of a convolution, (S, B, P, D) for P patches}, of the last logits that were asked to note it."""
        super().__init__(config, problem)
        require_taps(self.network, config.kind)  # type: ignore[attr-defined]

    def first(self, seeds: int, width: int) -> Tensor:
        """Return a layer's matrix before anything was learned, (S, D, D)."""
        raise NotImplementedError

    def take_in(self, parameters: Tree) -> None:
        super().take_in(parameters)
        for name, value in parameters.items():
            layer, _, part = name.rpartition(".")
            if part not in ("weight", "bias") or (part == "weight" and value.ndim < 3):
                raise NlbenchError(
                    f"a projection of gradients needs layers that multiply, and {name} is of none.",
                    'Use network.kind = "mlp" or "convolutional", and no cosine head.',
                )
            if part == "weight":
                width = value[0, 0].numel() + (f"{layer}.bias" in parameters)
                self.matrices[layer] = self.first(len(value), width).to(value.device)

    def loss(self, batch: Batch) -> Tensor:
        logits = self.logits(batch.inputs, batch.task, training=True, taps=self.note)
        return cross_entropy(logits, batch.labels, batch.classes)

    def note(self, layer: str, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Note what a layer sees, and let its outputs go on; `taps` of a network."""
        with torch.no_grad():
            self.seen[layer] = self.met(layer, inputs, outputs)
        return outputs

    def met(self, layer: str, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Return inputs as the layer's [W b] meets them."""
        return met(inputs, outputs, self.parameters[f"{layer}.weight"], bias=f"{layer}.bias" in self.parameters)

    def held(self) -> list[Tensor]:
        return [*super().held(), *self.matrices.values()]


def met(inputs: Tensor, outputs: Tensor, weight: Tensor, *, bias: bool) -> Tensor:
    """Return inputs as the weight (S, O, …) meets them, with a 1 for a bias: (S, B, D), or (S, B, P, D) of a convolution.

    A convolution's padding is taken to be half its size, and its stride to follow from the sizes of both images.
    """
    x = inputs.float()
    if weight.ndim > 3:
        size, stride = weight.shape[-1], -(-inputs.shape[-1] // outputs.shape[-1])
        patches = F.unfold(x.flatten(0, 1), size, padding=size // 2, stride=stride).mT
        x = patches.unflatten(0, inputs.shape[:2])
    return torch.cat([x, x.new_ones(*x.shape[:-1], 1)], -1) if bias else x


def joint(tree: Tree, layer: str) -> Tensor:
    """Return a layer's [W b], or the gradients of it, (S, O, D)."""
    weight, bias = tree[f"{layer}.weight"], tree.get(f"{layer}.bias")
    return weight.flatten(2) if bias is None else torch.cat([weight.flatten(2), bias[..., None]], -1)


def parted(values: Tensor, tree: Tree, layer: str) -> Tree:
    """Return values (S, O, D) under the names and in the shapes that the layer's parts have in the tree."""
    weight = tree[f"{layer}.weight"]
    if f"{layer}.bias" not in tree:
        return {f"{layer}.weight": values.view_as(weight)}
    return {f"{layer}.weight": values[..., :-1].reshape(weight.shape), f"{layer}.bias": values[..., -1]}


def projected(gradients: Tree, layer: str, projector: Tensor) -> Tree:
    """Return the gradients of a layer's [W b] times a projector (S, D, D)."""
    return parted(joint(gradients, layer) @ projector, gradients, layer)


def grown(tree: Tree, name: str, more: Tensor) -> Tensor:
    """Return a tensor of the tree, if it is there, with `more` behind it along the axis of tasks."""
    return torch.cat([tree[name], more], 1) if name in tree else more
