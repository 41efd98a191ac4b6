"""Delta gradient descent: each layer descends L + (κ/2)‖y‖² of its own output (Nested Learning, §4.5, eq. 54-57)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from nlbench.errors import NlbenchError
from nlbench.nested.local_objective import LocalObjective, Reduction, attach, trainable_layers


class DGD(torch.optim.Optimizer):
    """W <- W - lr (δ + κy)ᵀx for each linear and convolution layer of `module`, its bias an extra input of 1; the rest by SGD.

    The decay depends on the layer's own input, so DGD takes the module, not its parameters, and hooks its layers.
    `layers` names them where they are not `nn.Linear` or `nn.Conv2d` (see `local_objective.attach`; a leading replica
    axis is allowed). reduction: how the loss reduces over samples. `proximal=True` takes the exact proximal step of the
    batch for any ‖x‖ and any rate, for one solve of batch size per layer; then call `zero_grad` and `backward` once per
    step. κ in [0, 1]: the pull of outputs to zero; 1 is the paper, and at 1 an L2 loss under-writes its target by two.
    There is no state but the groups.
    """

    def __init__(
        self,
        module: nn.Module,
        lr: float = 1e-2,
        *,
        kappa: float = 1.0,
        reduction: Reduction = "mean",
        proximal: bool = False,
        layers: Iterable[nn.Module] | None = None,
    ) -> None:
        if lr <= 0 or not 0 <= kappa <= 1:
            raise NlbenchError(
                f"DGD: lr must be > 0 and kappa in [0, 1], got {lr}, {kappa}.", "kappa=1 is the paper's rule, 0 is SGD."
            )
        super().__init__(module.parameters(), {"lr": lr})
        rate = (lambda: self.param_groups[0]["lr"]) if proximal else None
        objective = LocalObjective(output=kappa, reduction=reduction, proximal_rate=rate)
        self.layers = trainable_layers(module) if layers is None else list(layers)
        self.hooks = attach(self.layers, objective)
        self._called: set[nn.Module] = set()
        self.hooks += [layer.register_forward_hook(self._note_call) for layer in self.layers]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step on every parameter that has a gradient; return the closure's loss, or None.

        A layer whose weights have a gradient though it was never called (a model that passes them to a function) is an
        error: its hook saw nothing, and the step would be plain SGD.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        missed = [layer for layer in self.layers if layer.weight.grad is not None and layer not in self._called]
        if missed:
            raise NlbenchError(
                f"DGD: {len(missed)} layers have a gradient but were not called as modules, the first is {missed[0]}.",
                "Name those that are called in `layers`, or use `local_objective.add_local_gradient` where weights meet inputs.",
            )
        self._called.clear()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(group["lr"] * parameter.grad)
        return loss

    def _note_call(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        self._called.add(layer)

    def detach(self) -> None:
        """Remove the hooks: the module's gradients are ordinary again."""
        for hook in self.hooks:
            hook.remove()
        self.layers = []
