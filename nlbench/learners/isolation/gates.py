"""The arithmetic of gates that hold units for tasks (Serrà et al. 2018, arXiv 1801.01423): see `hat`.

Shapes: S seeds, U units of a layer, O and I outputs and inputs of a weight.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from nlbench.networks.network import Tree

STEEPEST: Final = 50.0
"""Of |s e| where its cosh is taken (section 2.5)."""


def slope_at(step: int, steps: int, steepness: float) -> float:
    """Return s at a step, 0…steps - 1, of a pass: from 1 / steepness to steepness in a straight line (eq. 3)."""
    share = step / max(1, steps - 1)
    return 1 / steepness + (steepness - 1 / steepness) * share


def gate(embedding: Tensor, slope: Tensor, steepness: float) -> Tensor:
    """Return sigmoid(s e), whose gradient by e is steepness sigmoid'(e): as if it did not become steep (eq. 4).

    The equation divides sigmoid'(s e) by itself in terms of cosh, which float32 cannot where a gate is shut or open; this is what
    it comes to, and beyond |s e| = 50, where it stops, falls as it does there.
    """
    reach = (slope * embedding.detach()).abs().sub(STEEPEST).clamp(min=0).neg().exp()
    smooth = torch.sigmoid(embedding)
    return torch.sigmoid(slope * embedding).detach() + steepness * reach * (smooth - smooth.detach())


def spared(used: Tree, parameters: Tree) -> Tree:
    """Return by how much gradients are held, of the weights and biases of a chain of layers: min(A_l,i, A_{l-1},j) (eq. 2).

    used  {layer: (S, U)} in their order: A, the largest gates so far; all inputs of the first layer count as used
    """
    found: Tree = {}
    for before, name in zip([None, *used], used, strict=False):
        weight, own = parameters[f"{name}.weight"], used[name]
        held = own[:, :, None]
        if before is not None:
            places = weight.shape[2] // used[before].shape[1]
            held = torch.minimum(held, used[before].repeat_interleave(places, 1)[:, None])
        found[f"{name}.weight"] = held.view(*held.shape, *[1] * (weight.ndim - 3))
        found[f"{name}.bias"] = own
    return found
