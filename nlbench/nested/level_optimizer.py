"""An ordinary optimizer for models with continuum memories: one `torch.optim.Optimizer` a level, stepped by the level's clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from nlbench.errors import NlbenchError
from nlbench.nested.continuum import ContinuumMemory
from nlbench.nested.continuum_update import Levels, LevelState, Plan, Restart, continuum_update, flush
from nlbench.nested.layers import Tree

Make = Callable[[list[nn.Parameter], int], Optimizer]
"""(the parameters of a level, its period) -> the optimizer that updates them."""


class LevelOptimizer:
    """Steps every continuum memory of `model` by its clocks, and all other parameters at every step.

    Use it like an optimizer: `zero_grad`, `backward`, `step`. Levels of equal period are updated together, so all nested memories
    of one model must have the same periods. Accumulators, counters and moments are in `state_dict`, the initial states of nested
    levels in the model's. `plan` takes the fields of `Plan` except `periods`.
    """

    def __init__(self, model: nn.Module, make: Make, *, restart: Restart = "fomaml", **plan: Any) -> None:
        memories = {name: module for name, module in model.named_modules() if isinstance(module, ContinuumMemory)}
        nested = {memory.periods for memory in memories.values() if memory.variant == "nested"}
        if len({tuple(sorted(periods)) for periods in nested}) > 1:
            raise NlbenchError(
                f"periods: all nested memories of a model must share them, got {sorted(nested)}.", "Give them equal periods."
            )
        self._memories = memories
        in_memory = {id(value) for memory in memories.values() for value in memory.parameters()}
        others = {name: value for name, value in model.named_parameters() if id(value) not in in_memory}
        periods = sorted({1 for _ in others}.union(*(memory.periods for memory in memories.values())))
        self.plan = Plan(tuple(periods), restart=restart if nested else "none", **plan)
        self.step_count = 0
        self._targets: list[dict[str, nn.Parameter]] = [{} for _ in periods]
        for path, memory in memories.items():
            prefix = f"{path}." if path else ""
            for index, period in enumerate(memory.periods):
                level = periods.index(period)
                self._targets[level] |= {prefix + name: value for name, value in memory.level_parameters(index).items()}
        self._targets[0] |= others
        self.optimizers = [
            make(list(targets.values()), period) for targets, period in zip(self._targets, self.plan.periods, strict=True)
        ]
        self._leaves = [
            {name: nn.Parameter(value.clone()) for name, value in self._initial(level).items()} for level in range(len(periods))
        ]
        self._initial_optimizers = [self._make_initial(make, level) for level in range(len(periods))]
        self.levels: Levels = tuple(
            LevelState(
                {},
                rule=(self.optimizers[i], self._targets[i]),
                initial_rule=(self._initial_optimizers[i], self._leaves[i]),
            )
            for i in range(len(periods))
        )

    def _make_initial(self, make: Make, level: int) -> Optimizer | None:
        """The optimizer of a level's initial states, made as for its parent."""
        parent = self.plan.parent(level)
        if parent is None or not self._leaves[level] or self.plan.restart != "fomaml":
            return None
        return make(list(self._leaves[level].values()), self.plan.periods[parent])

    def _parameters(self, level: int) -> Tree:
        return {name: value.detach() for name, value in self._targets[level].items()}

    def _initial(self, level: int) -> Tree:
        return {
            f"{path}.{name}" if path else name: value
            for path, memory in self._memories.items()
            for index, period in enumerate(memory.periods)
            if period == self.plan.periods[level]
            for name, value in memory.initial_parameters(index).items()
        }

    def _with_model(self) -> Levels:
        """The levels with the model's tensors as they are now."""
        return tuple(
            replace(level, parameters=self._parameters(i), initial=self._initial(i)) for i, level in enumerate(self.levels)
        )

    def zero_grad(self) -> None:
        """Forget the gradients of the last backward pass; accumulated chunks stay."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def step(self) -> None:
        """Take the gradients of one backward pass into the accumulators and apply the levels that are due. A parameter without a
        gradient, such as a frozen one, stays.
        """
        self.step_count += 1
        gradients = [
            {name: value.grad.clone() for name, value in targets.items() if value.grad is not None} for targets in self._targets
        ]
        before, rules = self._with_model(), [_torch_rule] * len(self.levels)
        self._write(before, continuum_update(before, gradients, rules, self.plan, self.step_count))

    @torch.no_grad()
    def flush(self) -> None:
        """Apply every pending partial chunk now."""
        before = self._with_model()
        self._write(before, flush(before, [_torch_rule] * len(self.levels), self.plan))

    def _write(self, before: Levels, after: Levels) -> None:
        """Copy what changed into the model, which alone holds parameters and initial states between steps."""
        for targets, old, new in zip(self._targets, before, after, strict=True):
            if new.parameters is not old.parameters:
                _copy(targets, new.parameters)
            if new.initial is not old.initial:
                _copy(old.initial, new.initial)
        self.levels = tuple(replace(level, parameters={}, initial={}) for level in after)

    def scale_rates(self, factor: float) -> None:
        """Set every learning rate to `factor` times the one it was made with; call it before a step to follow a schedule."""
        for optimizer in [*self.optimizers, *self._initial_optimizers]:
            for group in optimizer.param_groups if optimizer is not None else ():
                for name in {"lr", "vector_lr"} & group.keys():
                    group[name] = factor * group.setdefault(f"initial_{name}", group[name])

    @property
    def updates(self) -> dict[int, int]:
        """How often the level of each period has changed."""
        return {period: level.updates for period, level in zip(self.plan.periods, self.levels, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact resume needs beside the model's own state, also in the middle of a chunk."""
        return {
            "step": self.step_count,
            "periods": self.plan.periods,
            "levels": [
                {
                    "accumulated": {n: v.clone() for n, v in level.accumulated.items()},
                    "pending": level.pending,
                    "updates": level.updates,
                }
                for level in self.levels
            ],
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "initial_optimizers": [optimizer.state_dict() if optimizer else None for optimizer in self._initial_optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that `state_dict` returned; load the model's first. Raises `NlbenchError` if it has other periods."""
        if tuple(state["periods"]) != self.plan.periods:
            raise NlbenchError(
                f"periods: the state has {tuple(state['periods'])}, these levels {self.plan.periods}.", "Build the same model."
            )
        self.step_count = state["step"]
        self.levels = tuple(replace(level, **saved) for level, saved in zip(self.levels, state["levels"], strict=True))
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for maybe, saved in zip(self._initial_optimizers, state["initial_optimizers"], strict=True):
            if maybe is not None:
                maybe.load_state_dict(saved)


def _torch_rule(parameters: Tree, gradient: Tree, state: tuple[Optimizer, dict[str, nn.Parameter]]) -> tuple[Tree, Any]:
    """The values that one step of a torch optimizer gives to its targets, which keep their own; both are the rule state. Targets
    that are not the model's own tensors, the leaves for initial states, first take the parameters' values.
    """
    optimizer, targets = state
    for name, target in targets.items():
        if target.data_ptr() != parameters[name].data_ptr():
            target.data = parameters[name].clone()
    before = {name: value.detach().clone() for name, value in targets.items()}
    for name, value in targets.items():
        value.grad = gradient.get(name)
    optimizer.step()
    after = {name: value.detach().clone() for name, value in targets.items()}
    _copy(targets, before)
    return after, state


def _copy(targets: Any, values: Tree) -> None:
    for name, target in targets.items():
        target.data.copy_(values[name])
