"""What layers of a network are surprised by: δ, the gradient of a seed's loss at their outputs; watched, and learned from.

Shapes: S seeds, n rows of a layer (samples, or their tokens), D_in and D_out its inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from nlbench.errors import NlbenchError
from nlbench.learners.gradient_config import SurpriseConfig
from nlbench.nested.local_objective import LocalObjective, add_local_gradient
from nlbench.nested.surprise import surprise_objective
from nlbench.networks.network import Network, Tree


class Surprises:
    """A tap (`nlbench.networks.network.Taps`) of one step's forward pass, of linear layers.

    squares   {layer: (S,)}, the mean ‖x‖² of its inputs
    outputs   {layer: (S, n, D_out)}
    deltas    {layer: (S, n, D_out)}, known when gradients were asked for
    """

    def __init__(self, parameters: Tree, objective: SurpriseConfig | None) -> None:
        self._parameters, self._objective = parameters, objective
        self._inputs: Tree = {}
        self.squares: Tree = {}
        self.outputs: Tree = {}
        self.deltas: Tree = {}

    def __call__(self, layer: str, inputs: Tensor, outputs: Tensor) -> Tensor:
        weight = self._parameters[f"{layer}.weight"]
        if weight.ndim != 3:
            raise NlbenchError(f"surprise: layer {layer!r} is not linear.", 'Use network.kind = "mlp" or "sequence".')
        if self._objective and self._objective.order == 1:
            own = LocalObjective(surprise=self._objective.weight, output=self._objective.weight)
            outputs = add_local_gradient(outputs, inputs, weight, self._parameters.get(f"{layer}.bias"), own)
        if outputs.requires_grad:
            outputs.register_hook(lambda delta: self.deltas.__setitem__(layer, delta.detach()))
        self._inputs[layer], self.outputs[layer] = inputs, outputs
        self.squares[layer] = inputs.detach().square().sum(2).mean(1)
        return outputs

    def added_to(self, losses: Tensor) -> Tensor:
        """Return the losses (S,) with the objective of order 2, which is differentiated through δ; else as they are."""
        if not self._objective or self._objective.order == 1:
            return losses
        layers = list(self.outputs)
        deltas = torch.autograd.grad(losses.sum(), [self.outputs[layer] for layer in layers], create_graph=True)
        weights = [self._parameters[f"{layer}.weight"] for layer in layers]
        objectives = [
            surprise_objective(weight, self._inputs[layer], self.outputs[layer], delta)
            for layer, weight, delta in zip(layers, weights, deltas, strict=True)
        ]
        return losses + self._objective.weight * torch.stack(objectives).sum(0)

    def sizes(self, layers: Iterable[str]) -> tuple[Tensor, Tensor]:
        """Return RMS(δ) over these layers, (S,), and the largest mean ‖x‖² of their inputs, (S,)."""
        layers = list(layers)
        deltas = torch.cat([self.deltas[layer].flatten(1) for layer in layers], 1)
        return deltas.square().mean(1).sqrt(), torch.stack([self.squares[layer] for layer in layers]).amax(0)


def require_watched(network: Network) -> None:
    """Raise `NlbenchError` where a network does not tell what its layers see."""
    if network.taps is None:
        raise NlbenchError(
            f"surprise and gabal need what each layer sees, which network {type(network).__name__.lower()!r} does not tell.",
            'Use network.kind = "mlp" or "sequence".',
        )
