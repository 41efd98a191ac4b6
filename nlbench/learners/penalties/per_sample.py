"""Sums over samples of a function of each sample's own gradient: the Fisher information's diagonal, importances of MAS.

The function is elementwise, and of a product it is the product of what it is of the factors: a square, an absolute value.
Shapes: S seeds, B samples, C logits, K outcomes of a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import torch
from torch import Tensor

from nlbench.networks.network import Taps, Tree

COPIES: Final = 1 << 24
"""Numbers in the copies of parameters that exist at once."""

Elementwise = Callable[[Tensor], Tensor]


class Outcomes(Protocol):
    """What is differentiated of each sample."""

    def __call__(self, parameters: Tree, inputs: Tensor, taps: Taps | None = None) -> Tensor:
        """Return (S, B, K) of inputs (S, B, *input_shape) and parameters (S, …), for any S; rows are independent."""


def summed(outcomes: Outcomes, parameters: Tree, inputs: Tensor, of: Elementwise) -> Tree:
    """Return Σ_b Σ_k of(∂ outcome_bk / ∂θ), exact, for each of the parameters; those that bear on nothing have zeros.

    Cost: where all layers are linear, a sample's gradient of a weight is an outer product, and their sum one product of matrices:
    a forward pass and K backward. Elsewhere each sample has a copy of the parameters, and costs K steps of its own.
    """
    with torch.enable_grad():
        found = _by_layer(outcomes, parameters, inputs, of)
        return _by_copies(outcomes, parameters, inputs, of) if found is None else found


def _by_layer(outcomes: Outcomes, parameters: Tree, inputs: Tensor, of: Elementwise) -> Tree | None:
    """Return the sums where every parameter is a linear layer's that is passed once, otherwise None."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    again = False

    def tap(name: str, x: Tensor, y: Tensor) -> Tensor:
        nonlocal again
        again |= name in seen
        seen[name] = x.detach(), y
        return y

    values = outcomes(parameters, inputs, tap)
    layers = {f"{name}.{part}" for name in seen for part in ("weight", "bias")}
    shapes = all(parameters[f"{name}.weight"].ndim == x.ndim == y.ndim == 3 for name, (x, y) in seen.items())
    if again or layers != parameters.keys() or not shapes:
        return None
    found = {name: torch.zeros_like(value) for name, value in parameters.items()}
    outputs = [y for _, y in seen.values()]
    for k in range(values.shape[2]):
        slopes = torch.autograd.grad(values[..., k].sum(), outputs, retain_graph=True)
        for (name, (x, _)), slope in zip(seen.items(), slopes, strict=True):
            size = of(slope)
            found[f"{name}.weight"].baddbmm_(size.mT, of(x))
            found[f"{name}.bias"].add_(size.sum(1))
    return found


def _by_copies(outcomes: Outcomes, parameters: Tree, inputs: Tensor, of: Elementwise) -> Tree:
    """Return the sums with a sample in the place of a seed: what is stacked shares nothing."""
    found = {name: torch.zeros_like(value) for name, value in parameters.items()}
    at_once = max(1, COPIES // sum(value.numel() for value in parameters.values()))
    for part in inputs.split(at_once, dim=1):
        seeds, count = part.shape[:2]
        copies = {name: value.detach().repeat_interleave(count, 0).requires_grad_() for name, value in parameters.items()}
        values = outcomes(copies, part.flatten(0, 1)[:, None])
        for k in range(values.shape[2]):
            slopes = torch.autograd.grad(values[..., k].sum(), list(copies.values()), retain_graph=True, allow_unused=True)
            for total, slope in zip(found.values(), slopes, strict=True):
                if slope is not None:
                    total.add_(of(slope).unflatten(0, (seeds, count)).sum(1))
    return found
