"""`torch.optim.Optimizer` shells: they hold state; the rules in the modules beside them hold the mathematics.

A parameter is seen as matrices (*replicas, rows, columns): `replica_axes` leading axes are independent copies (seeds), a
convolution is flattened behind its first axis, a vector is one row. State lives in `state[parameter]`, so `state_dict`
numbers it by parameter order and a loaded optimizer continues bit for bit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.nested.optimizers import deep_momentum, momenta, multi_scale, orthogonal, preconditioned

Params = Iterable[Tensor] | Iterable[dict[str, Any]]
Group = dict[str, Any]
Rule = Callable[..., tuple[Tensor, Any]]


def as_matrices(tensor: Tensor, replica_axes: int) -> Tensor:
    """Return a parameter or its gradient as (*replicas, rows, columns); vectors and scalars become one row."""
    lead, own = tensor.shape[:replica_axes], tensor.shape[replica_axes:]
    return tensor.reshape(*lead, own[0] if len(own) > 1 else 1, -1)


def keyword_defaults(function: Callable[..., Any]) -> Group:
    """Return the keyword-only parameters of a rule that have a default: its settings."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}


class RuleOptimizer(torch.optim.Optimizer):
    """An optimizer whose step is W <- (1 - lr weight_decay) W + update, with `update` from a pure rule.

    A subclass declares its `rule`: what makes the first state, what updates, and the type of the state. `**settings` are the
    keyword arguments of those two functions, with their defaults. Where `vectors_use_adam` is set, parameters of one axis or none
    (biases, norms) take Adam at `vector_lr` instead: an orthogonalised or two-sided update means nothing for them.
    """

    initial: ClassVar[Callable[..., Any]]
    update: ClassVar[Rule]
    state_type: ClassVar[Callable[..., Any]]
    default_lr: ClassVar[float] = 1e-2
    vectors_use_adam: ClassVar[bool] = False

    def __init_subclass__(
        cls,
        *,
        rule: tuple[Callable[..., Any], Rule, Callable[..., Any]] | None = None,
        lr: float | None = None,
        vectors_use_adam: bool | None = None,
    ) -> None:
        """What is not declared is inherited."""
        super().__init_subclass__()
        if rule is not None:
            cls.initial, cls.update, cls.state_type = staticmethod(rule[0]), staticmethod(rule[1]), rule[2]
        if lr is not None:
            cls.default_lr = lr
        if vectors_use_adam is not None:
            cls.vectors_use_adam = vectors_use_adam

    def __init__(
        self,
        params: Params,
        lr: float | None = None,
        *,
        weight_decay: float = 0.0,
        vector_lr: float = 1e-3,
        replica_axes: int = 0,
        **settings: Any,
    ) -> None:
        lr = self.default_lr if lr is None else lr
        name = type(self).__name__
        if min(lr, vector_lr, weight_decay) < 0:
            raise NlbenchError(
                f"{name}: lr, vector_lr and weight_decay must be >= 0, got {lr}, {vector_lr}, {weight_decay}.",
                "Every rule descends at a positive rate.",
            )
        known = self.known_settings()
        for setting in settings:
            if setting not in known:
                raise UnknownNameError(f"setting of {name}", setting, known)
        shared = {"lr": lr, "weight_decay": weight_decay, "vector_lr": vector_lr, "replica_axes": replica_axes}
        super().__init__(params, {**known, **settings, **shared})

    @classmethod
    def known_settings(cls) -> Group:
        """Return the settings this optimizer takes beyond the shared ones, with their defaults."""
        return {**keyword_defaults(cls.initial), **keyword_defaults(cls.update)}

    def rule_for(self, group: Group) -> Rule:
        """Return the update rule of a parameter group."""
        return type(self).update

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step on every parameter that has a gradient; return the closure's loss, or None."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_one(parameter, parameter.grad, group)
        return loss

    def _step_one(self, parameter: Tensor, gradient: Tensor, group: Group) -> None:
        state: Any
        axes, kept = group["replica_axes"], self.state[parameter]
        gradient = as_matrices(gradient, axes)
        if self.vectors_use_adam and parameter.ndim - axes < 2:
            lr = group["vector_lr"]
            state = preconditioned.AdamState(**kept) if kept else preconditioned.adam_init(gradient)
            update, state = preconditioned.adam(gradient, state, lr=lr)
        else:
            lr, initial, rule = group["lr"], type(self).initial, self.rule_for(group)
            first, settings = ({name: group[name] for name in keyword_defaults(f)} for f in (initial, rule))
            state = type(self).state_type(**kept) if kept else initial(gradient, **first)
            update, state = rule(gradient, state, lr=lr, **settings)
        self.state[parameter] = state._asdict()
        parameter.mul_(1 - lr * group["weight_decay"]).add_(update.reshape(parameter.shape))


class Momentum(RuleOptimizer, rule=(momenta.momentum_init, momenta.momentum, momenta.MomentumState), lr=3e-2):
    """m⁺ = αm - ηg (eq. 33). Settings: `momenta.momentum`."""


class PreconditionedMomentum(
    RuleOptimizer,
    rule=(preconditioned.diagonal_init, preconditioned.preconditioned_momentum, preconditioned.DiagonalState),
    lr=3e-4,
):
    """m⁺ = αm - ηPg with Adam's diagonal as P (eq. 47). Settings: `preconditioned.preconditioned_momentum`."""


class DeltaMomentum(RuleOptimizer, rule=(momenta.momentum_init, momenta.delta_momentum, momenta.MomentumState), lr=1e-1):
    """m⁺ = m(αI - η_c ĝᵀĝ) - ηg (eq. 48-49, resolved). Settings: `momenta.delta_momentum`."""


class FeatureMomentum(RuleOptimizer, rule=(momenta.momentum_init, momenta.feature_momentum, momenta.MomentumState), lr=3e-2):
    """m⁺ = αm - ηPφ(g), φ odd and of higher order (eq. 51, resolved). Settings: `momenta.feature_momentum`."""


class DMGD(RuleOptimizer, rule=(deep_momentum.dmgd_init, deep_momentum.dmgd, deep_momentum.DeepMomentumState), lr=1.0):
    """The momentum is a small network that learns (eq. 50, resolved). Settings: `deep_momentum.dmgd_init` and `.dmgd`."""


class AdamW(RuleOptimizer, rule=(preconditioned.adam_init, preconditioned.adam, preconditioned.AdamState), lr=1e-3):
    """Adam as two memories of the gradient with decoupled weight decay (eq. 101-106); equals `torch.optim.AdamW`.

    Settings: `preconditioned.adam`; betas[1] = 1 sums the second moment (AdaGrad).
    """


class Shampoo(
    RuleOptimizer,
    rule=(preconditioned.shampoo_init, preconditioned.shampoo, preconditioned.ShampooState),
    lr=3e-2,
    vectors_use_adam=True,
):
    """L^(-1/4) m R^(-1/4), the outer-product memory (eq. 107-111). Settings: `preconditioned.shampoo`. Vectors use Adam."""


class Muon(RuleOptimizer, rule=(orthogonal.muon_init, orthogonal.muon, orthogonal.MuonState), vectors_use_adam=True):
    """Orthogonalised momentum (eq. 42-44, 52); equals `torch.optim.Muon`. Settings: `orthogonal.muon`. Vectors use Adam."""


class M3(RuleOptimizer, rule=(multi_scale.m3_init, multi_scale.m3, multi_scale.M3State), lr=3e-3, vectors_use_adam=True):
    """Multi-scale momentum Muon (eq. 75, Alg. 1, resolved). Settings: `multi_scale.m3`, `literal=True` for Alg. 1 as printed.

    The update's RMS is 0.2 lr, so AdamW's learning rates carry over. Vectors use Adam.
    """

    @classmethod
    def known_settings(cls) -> Group:
        return {**super().known_settings(), "literal": False}

    def rule_for(self, group: Group) -> Rule:
        return multi_scale.m3_literal if group["literal"] else multi_scale.m3
