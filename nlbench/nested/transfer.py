"""How knowledge crosses the edge between a slow block and a fast one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import torch
from torch import Tensor

from nlbench.errors import NlbenchError
from nlbench.nested.layers import Tree


class Transfer(StrEnum):
    """The five modes of an edge. All but `CONDITION` and `NONPARAMETRIC` leave a trace in the slower level's parameters.

    CONDITION      one block reads the other's output; no gradient crosses      `cross`
    NONPARAMETRIC  one block reads the other's context by attention             `hope.Attention`
    BACKPROP       one gradient flow, different periods                         `cross`
    INIT           the slow block owns the fast one's initial state             the nested `ContinuumMemory`, `meta_gradient`
    GENERATE       one block produces the other's weights or training data      `self_referential.SelfReferential`

    Source: Nested Learning (arXiv 2512.24695), section 3.3.
    """

    CONDITION = "condition"
    NONPARAMETRIC = "nonparametric"
    BACKPROP = "backprop"
    INIT = "init"
    GENERATE = "generate"


def cross(edge: Transfer, activations: Tensor) -> Tensor:
    """What the next block of a chain sees of `activations`; the gradient goes back only over a `BACKPROP` edge."""
    if edge is Transfer.BACKPROP:
        return activations
    if edge is Transfer.CONDITION:
        return activations.detach()
    raise NlbenchError(
        f"transfer: {edge.value!r} is not an edge between two blocks of a chain.",
        "Use 'backprop' or 'condition'; 'init' is the nested variant, 'nonparametric' Attention, 'generate' SelfReferential.",
    )


Loss = Callable[[Tree], Tensor]


def meta_gradient(initial: Tree, inner: Sequence[Loss], outer: Loss, rate: float, *, first_order: bool) -> Tree:
    """The gradient of `outer` at the state that gradient descent over `inner` reaches from `initial`, with respect to `initial`.

    `first_order` takes the gradient at the last state instead (FOMAML); otherwise it goes through every inner step (MAML).
    Cost: one gradient per inner loss, and for MAML as many Hessian-vector products. Source: Finn et al. 2017.
    """
    start = {name: value.detach().requires_grad_() for name, value in initial.items()}
    state = start
    for loss in inner:
        gradients = torch.autograd.grad(loss(state), list(state.values()), create_graph=not first_order)
        state = {name: value - rate * gradient for (name, value), gradient in zip(state.items(), gradients, strict=True)}
        if first_order:
            state = {name: value.detach().requires_grad_() for name, value in state.items()}
    target = state if first_order else start
    return dict(zip(target, torch.autograd.grad(outer(state), list(target.values())), strict=True))


def reptile(initial: Tree, final: Tree, rate: float) -> Tree:
    """`initial` moved by the share `rate` towards `final`. Source: Nichol et al. 2018."""
    return {name: value + rate * (final[name] - value) for name, value in initial.items()}
