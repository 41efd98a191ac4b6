"""What a gradient becomes: parameters move in place, and so do the optimizer's own tensors, which a learner holds.

Slots are named by what they are and by parameter, `slots["velocity"]["layer0.weight"]`; all but counters have the seed axis
first. Seeds never mix: norms, products and orthogonalisation are a seed's own.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam

from nlbench.learners import optimizer_config as configs
from nlbench.nested.optimizers import preconditioned, shells
from nlbench.networks.network import Tree

Slots = dict[str, Tree]


class Optimizer(Protocol):
    """A rule; it holds nothing that changes."""

    captured: bool
    """False where a step depends on a count that a CUDA graph would keep as it was."""

    def initial(self, parameters: Tree) -> Slots:
        """Return the first slots of these parameters."""

    def step(self, parameters: Tree, gradients: Tree, slots: Slots, rate: float) -> None:
        """Move the parameters that have a gradient, and their slots, in place."""


class Sgd:
    """θ -= rate v with v = μ v + g + λ θ, or rate (g + λ θ + μ v) of Nesterov: torch's SGD."""

    captured = True

    def __init__(self, config: configs.SgdConfig) -> None:
        self._config = config

    def initial(self, parameters: Tree) -> Slots:
        return {"velocity": _zeros(parameters)} if self._config.momentum else {}

    def step(self, parameters: Tree, gradients: Tree, slots: Slots, rate: float) -> None:
        config = self._config
        values, moves = [parameters[name] for name in gradients], list(gradients.values())
        if config.weight_decay:
            moves = list(torch._foreach_add(moves, values, alpha=config.weight_decay))
        if config.momentum:
            velocities = [slots["velocity"][name] for name in gradients]
            torch._foreach_mul_(velocities, config.momentum)
            torch._foreach_add_(velocities, moves)
            moves = list(torch._foreach_add(moves, velocities, alpha=config.momentum)) if config.nesterov else velocities
        torch._foreach_add_(values, moves, alpha=-rate)


class Adam:
    """Adam and AdamW as torch has them (Kingma & Ba 2015; Loshchilov & Hutter 2019)."""

    captured = True

    def __init__(self, config: configs.AdamConfig | configs.AdamWConfig) -> None:
        self._config = config

    def initial(self, parameters: Tree) -> Slots:
        steps = {name: torch.zeros((), device=value.device) for name, value in parameters.items()}
        return {"first_moment": _zeros(parameters), "second_moment": _zeros(parameters), "step": steps}

    def step(self, parameters: Tree, gradients: Tree, slots: Slots, rate: float) -> None:
        config = self._config
        values, moves = [parameters[name] for name in gradients], list(gradients.values())
        first, second, steps = ([slots[kind][name] for name in gradients] for kind in ("first_moment", "second_moment", "step"))
        # in one pass; it takes numbers as they lie, one after the other
        fused = all(value.device.type == "cpu" and value.is_contiguous() for value in values)
        adam(
            values,
            [each.contiguous() for each in moves] if fused else moves,
            first,
            second,
            [],
            steps,
            foreach=not fused,
            fused=fused,
            capturable=bool(steps) and steps[0].is_cuda,
            decoupled_weight_decay=config.kind == "adamw",
            amsgrad=False,
            beta1=config.betas[0],
            beta2=config.betas[1],
            lr=rate,
            weight_decay=config.weight_decay,
            eps=config.eps,
            maximize=False,
        )


class Expressive:
    """A rule of `nested.optimizers` for every matrix, and where it means nothing for vectors, Adam for those."""

    def __init__(self, config: configs.ExpressiveConfig) -> None:
        self._config = config
        self._shell = EXPRESSIVE[config.kind]
        settings = config.settings()
        self._first, self._settings = (
            {name: settings[name] for name in shells.keyword_defaults(function) if name in settings}
            for function in (self._shell.initial, self._shell.update)
        )
        self.captured = "step" not in self._shell.state_type._fields and not self._shell.vectors_use_adam  # type: ignore[attr-defined]

    def initial(self, parameters: Tree) -> Slots:
        slots: Slots = {}
        for name, value in parameters.items():
            matrices = shells.as_matrices(value.detach(), 1)
            state = preconditioned.adam_init(matrices) if self._by_adam(value) else self._shell.initial(matrices, **self._first)
            for field, item in state._asdict().items():  # each its own, as it is changed in place
                own = item.clone() if isinstance(item, Tensor) else torch.tensor(item)
                slots.setdefault(field, {})[name] = own
        return slots

    def step(self, parameters: Tree, gradients: Tree, slots: Slots, rate: float) -> None:
        for name, gradient in gradients.items():
            value = parameters[name]
            by_adam = self._by_adam(value)
            kind: Any = preconditioned.AdamState if by_adam else self._shell.state_type
            held = {field: slots[field][name] for field in kind._fields}
            state = kind(**{field: each if each.ndim else int(each) for field, each in held.items()})
            matrices = shells.as_matrices(gradient, 1)
            own = self._config.rate_of_vectors if by_adam else rate
            if by_adam:
                update, state = preconditioned.adam(matrices, state, lr=own)
            else:
                update, state = self._shell.update(matrices, state, lr=own, **self._settings)
            for field, tensor in held.items():
                new = getattr(state, field)
                if isinstance(new, Tensor):
                    tensor.copy_(new)
                else:
                    tensor.fill_(new)
            value.mul_(1 - own * self._config.weight_decay).add_(update.reshape(value.shape))

    def _by_adam(self, value: Tensor) -> bool:
        return self._shell.vectors_use_adam and value.ndim < 3


EXPRESSIVE: Final[dict[str, type[shells.RuleOptimizer]]] = {
    "momentum": shells.Momentum,
    "preconditioned-momentum": shells.PreconditionedMomentum,
    "delta-momentum": shells.DeltaMomentum,
    "feature-momentum": shells.FeatureMomentum,
    "dmgd": shells.DMGD,
    "shampoo": shells.Shampoo,
    "muon": shells.Muon,
    "m3": shells.M3,
}
"""The class that names the rule of each kind."""


def build(config: configs.OptimizerConfig) -> Optimizer:
    """Return the declared optimizer."""
    if isinstance(config, configs.SgdConfig):
        return Sgd(config)
    if isinstance(config, configs.AdamConfig | configs.AdamWConfig):
        return Adam(config)
    return Expressive(config)


def _zeros(parameters: Tree) -> Tree:
    return {name: torch.zeros_like(value) for name, value in parameters.items()}
