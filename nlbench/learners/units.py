"""Hidden units of networks whose layers are a chain: which layer reads which, and the weights at either end of a unit.

Shapes: S seeds, U units of a layer (of a convolution its filters), O outputs of the layer that reads them.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from nlbench.batch import Problem
from nlbench.errors import NlbenchError
from nlbench.learners.heads import LAYER
from nlbench.networks.network import Network, Tree, require_taps


def readers(network: Network, parameters: Tree, state: Tree, problem: Problem, method: str) -> dict[str, str]:
    """Return {hidden layer: the layer that reads it}, in their order; the last one is read by the head.

    Raises `NlbenchError` where layers are no chain, or the network does not tell of them.
    """
    require_taps(network, method)
    found: list[str] = []

    def tap(name: str, x: Tensor, y: Tensor) -> Tensor:
        found.append(name)
        return y

    zeros = torch.zeros(1, 1, *problem.input_shape, device=problem.device)
    with torch.no_grad():
        network.apply(parameters, state, zeros, training=False, taps=tap)
    weights = [parameters[f"{name}.weight"] for name in found]
    chain = all(two.ndim > 2 and two.shape[2] % one.shape[1] == 0 for one, two in pairwise(weights))
    if not found or not chain or not all(f"{name}.bias" in parameters for name in found) or len({*found}) < len(found):
        kind = type(network).__name__.lower()
        raise NlbenchError(
            f"{method} needs layers that are a chain, and those of network {kind!r} are not.",
            'Use network.kind = "mlp" or "convolutional".',
        )
    return dict(zip(found, [*found[1:], LAYER], strict=True))


def outgoing(tree: Tree, reader: str, units: int) -> list[Tensor]:
    """Return views (S, O, U, places) of the weights by which a layer's units are read; of every head where each task has one."""
    found = [value for name, value in tree.items() if name.startswith(f"{reader}.") and value.ndim > 2]
    return [value.unflatten(2, (units, -1)).flatten(3) for value in found]


def renew(tree: Tree, layer: str, reader: str, unit: Tensor, values: Tensor | None) -> None:
    """Give a unit (S,) of a layer incoming weights and bias, values (S, inputs + 1), or zeros; its outgoing weights become 0."""
    weight, bias = tree[f"{layer}.weight"], tree[f"{layer}.bias"]
    rows = torch.arange(len(unit), device=unit.device)
    weight[rows, unit] = 0.0 if values is None else values[:, :-1].view(weight[:, 0].shape)
    bias[rows, unit] = 0.0 if values is None else values[:, -1]
    for read in outgoing(tree, reader, weight.shape[1]):
        read[rows, :, unit] = 0.0
