"""Levels: every parameter moves once in its own period, by what its gradients of the period come to.

What protects old tasks here is only that slow levels change seldom. Told: nothing of tasks. Stores: of every parameter whose
period is longer than a step the gradients so far, and of one that restarts its initial state.

g ← Σ of the period's gradients, or their mean;  θ ← θ - rate · rule(g), at steps that the period divides (eq. 71). A level of a
nested memory that reaches the end of the next slower period first teaches its initial state, by the same gradients and the slower
level's rule (FOMAML), or by half the way to where it got (Reptile), and returns to it (eq. 72).

Source: Behrouz et al. 2025 (arXiv 2512.24695), section 7. Cost: that of plain fine-tuning, and one addition a slow parameter.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from nlbench.batch import Batch, Problem
from nlbench.errors import NlbenchError
from nlbench.learners import optimizers
from nlbench.learners.gradient import GradientLearner, cross_entropy
from nlbench.learners.gradient_config import LevelsConfig
from nlbench.learners.surprise import Surprises, require_watched
from nlbench.nested.clocks import check_all_fire, check_periods, due
from nlbench.nested.gabal import GabalConfig, GabalState, gabal_accumulate, gabal_apply, gabal_init
from nlbench.nested.transfer import reptile
from nlbench.networks.network import Tree

REPTILE_RATE: Final = 0.5
"""How far an initial state goes to where its level got to; at 1 nothing would restart."""


class Levels(GradientLearner):
    """The network says which parameters have a period longer than 1; the head has none.

    step     batches so far
    waiting  {name: (S, …)}, what was gathered of parameters that do not move at every step
    initial  {name: (S, …)}, the states that restarting parameters return to
    controllers  {period: what makes the rates of a level}, by GABAL
    """

    made_anew = (*GradientLearner.made_anew, "_rules", "_config", "_surprises")

    def __init__(self, config: LevelsConfig, problem: Problem) -> None:
        self._config = config
        self._rules: dict[int, optimizers.Optimizer] = {}
        self.step = 0
        self.waiting: Tree = {}
        self.initial: Tree = {}
        self.initial_slots: optimizers.Slots = {}
        self.controllers: dict[int, GabalState] = {}
        self._surprises: Surprises | None = None
        self.captured = config.gabal is None and all(optimizers.build(each).captured for each in config.optimizers.values())
        super().__init__(config, problem)
        if config.surprise or config.gabal:
            require_watched(self.network)
        if config.gabal and self.network.restarts and config.restart == "fomaml":
            raise NlbenchError("learner.gabal: initial states have no rate of their own.", 'Use learner.restart = "reptile".')
        check_all_fire(self.periods, problem.steps)
        check_periods(self.periods, divisible=bool(self.network.restarts))

    @property
    def periods(self) -> tuple[int, ...]:
        """Return the periods of all parameters, fast to slow."""
        return tuple(sorted({1, *self.network.periods.values()}))

    def take_in(self, parameters: Tree) -> None:
        for name, value in parameters.items():
            self.parameters[name] = value.detach().requires_grad_()
            period = self.network.periods.get(name, 1)
            if period > 1 and not self._config.gabal:
                self.waiting[name] = torch.zeros_like(value)
            _join(self.slots, self._rule(period).initial({name: value}))
            if name in self.network.restarts:
                self.initial[name] = value.detach().clone()
                _join(self.initial_slots, self._rule(self._slower(period)).initial({name: value}))

    def loss(self, batch: Batch) -> Tensor:
        if not (self._config.surprise or self._config.gabal):
            return super().loss(batch)
        self._surprises = Surprises(self.parameters, self._config.surprise)
        with sdpa_kernel(SDPBackend.MATH):  # the others cannot be differentiated twice
            logits = self.logits(batch.inputs, batch.task, training=True, taps=self._surprises)
        return self._surprises.added_to(cross_entropy(logits, batch.labels, batch.classes))

    def phase(self) -> Hashable:
        return tuple(due(self.step + 1, period) for period in self.periods)

    def move(self, gradients: Tree) -> None:
        gradients = self.adjust(gradients)
        if self._config.gabal:
            for period in self.periods:
                self._move_by_gabal(period, gradients, GabalConfig(**self._config.gabal.model_dump()))
            return
        for name, waiting in self.waiting.items():
            if name in gradients:
                waiting.add_(gradients[name])
        for period in self.periods:
            if not due(self.step + 1, period):
                continue
            share = 1.0 if self._config.reduction == "sum" else 1.0 / period
            own = self._of(period)
            moved = gradients if period == 1 else {name: self.waiting[name] * share for name in own}
            moved = {name: moved[name] for name in own if name in moved}
            self._rule(period).step(self.parameters, moved, self.slots, self._rate(period))
            self._restart(period, moved)
            for name in own:
                if name in self.waiting:
                    self.waiting[name].zero_()

    def after_step(self, batch: Batch) -> None:
        self.step += 1
        self._surprises = None

    def _move_by_gabal(self, period: int, gradients: Tree, config: GabalConfig) -> None:
        """Weigh a level's gradients, and move it where its period ends."""
        names = self._of(period)
        own, surprises = [self.parameters[name].detach() for name in names], self._surprises
        assert surprises is not None
        layers = [layer for layer in surprises.outputs if f"{layer}.weight" in names]
        given = [gradients.get(name, torch.zeros_like(value)) for name, value in zip(names, own, strict=True)]
        before = self.controllers.get(period) or gabal_init(own, replica_axes=1)
        state = gabal_accumulate(config, before, given, own, *surprises.sizes(layers), period)
        if due(self.step + 1, period):
            initial = [self.initial.get(name, torch.zeros_like(value)) for name, value in zip(names, own, strict=True)]
            moved, state = gabal_apply(config, state, own, initial)
            for value, new in zip(own, moved, strict=True):
                value.copy_(new)
            self._restart(period, dict(zip(names, given, strict=True)))
        self.controllers[period] = state

    def _of(self, period: int) -> list[str]:
        return [name for name in self.parameters if self.network.periods.get(name, 1) == period]

    def held(self) -> list[Tensor]:
        slots = [value for tree in self.initial_slots.values() for value in tree.values()]
        return [*super().held(), *self.waiting.values(), *self.initial.values(), *slots]

    def diagnostics(self) -> dict[str, Tensor]:
        seeds = len(next(iter(self.parameters.values())))
        return {f"level.{period}.updates": torch.full((seeds,), float(self.step // period)) for period in self.periods}

    def _restart(self, period: int, moved: Tree) -> None:
        """Teach initial states, and return to them, where the next slower period ends too."""
        names = [name for name in moved if name in self.initial]
        if not names or not due(self.step + 1, self._slower(period)):
            return
        slower = self._slower(period)
        if self._config.restart == "fomaml":
            gradients = {name: moved[name] for name in names}
            self._rule(slower).step(self.initial, gradients, self.initial_slots, self._rate(slower))
        else:
            own = {name: self.initial[name] for name in names}
            for name, value in reptile(own, {name: self.parameters[name] for name in names}, REPTILE_RATE).items():
                self.initial[name].copy_(value)
        for name in names:
            self.parameters[name].copy_(self.initial[name])

    def _slower(self, period: int) -> int:
        return min(each for each in self.periods if each > period)

    def _rule(self, period: int) -> optimizers.Optimizer:
        if period not in self._rules:
            self._rules[period] = optimizers.build(self._config.optimizers.get(str(period), self._config.optimizer))
        return self._rules[period]

    def _rate(self, period: int) -> float:
        scale = {"none": 1.0, "inverse": 1.0 / period, "root": period**0.5}[self._config.scale]
        return self._config.optimizers.get(str(period), self._config.optimizer).rate * scale


def _join(slots: optimizers.Slots, more: optimizers.Slots) -> None:
    for kind, tree in more.items():
        slots.setdefault(kind, {}).update(tree)
